"""Texts on which tokenizers part: every file must make our ids of them before it is kept, besides those of the user's own rows.

Writing of many languages, runs of blanks and digits, code, contractions in either case, emoji of several code points; and every
added token of the tokenizer alone, inside a word, between blanks and cut in half.
"""

import unicodedata
from collections.abc import Sequence

TEXTS = (
    "Hello, world! It's 3.14 o'clock; they've said we'll go.",
    "I'M SURE THEY'RE HERE, AND WE'LL SEE WHAT SHE'D DO",
    "camelCase snake_case SCREAMING_CASE kebab-case x1y2z3 HTTPServer2Go",
    "1 12 123 1234 12345 1,234,567.89 0x1F 1e-10 50% №5 ½ Ⅷ ²³",
    "  two  three   four    blanks\tand\t\ttabs \t mixed ",
    "line\nline\n\nparagraph\r\nwindows\r\n\r\n\n  indented\n\t\ttabbed\n \n",
    " leading and trailing ",
    "\n",
    "   ",
    "def f(x):\n    return {k: v**2 for k, v in x.items() if k != 'a'}  # why?\n",
    '{"key": [1, 2.5, null, true], "nested": {"a": "b\\"c\\n"}}',
    "<p class=\"a\">x &amp; y</p> https://example.org/a?b=c&d=%20#e user@example.org",
    "!!! ??? ... --- === *** ((([[[{{{ }}}]]])) ,,,;;;::: ~~~ ``` @#$%^&",
    "Größe, Öl, Straße, Ärger, naïve café, Ångström, łódź, ﬁn, ŒUVRE",
    "Привет, как дела? Ёлка 2026 года.",
    "Γειά σου Κόσμε, ὁ ἄνθρωπος",
    "你好，世界！今天是2026年11月25日。天气很好",
    "日本語のテキスト、カタカナとひらがな。ﾊﾝｶｸ",
    "안녕하세요 세계! 한국어 문장입니다.",
    "مرحبا بالعالم، كيف حالك؟ ١٢٣",
    "שלום עולם, מה שלומך?",
    "नमस्ते दुनिया, आप कैसे हैं? १२३",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "Xin chào thế giới, tiếng Việt có dấu",
    "😀😃 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☕ ✓ → ≠ ∑ € £ ¥ “quotes” ‘single’ – — …",
    "zero\u200bwidth no\u00a0break soft\u00adhyphen thin\u2009blank wide\u3000blank",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "The quick brown fox jumps over the lazy dog. " * 8,
)  # fmt: skip
MOST_ADDED_TOKENS = 64
"""Some tokenizers have thousands of reserved ones, all alike."""


def hard_texts(added_tokens: Sequence[str]) -> list[str]:
    """The texts in Unicode NFC, and others around added tokens: the first of them, and the last."""
    half = MOST_ADDED_TOKENS // 2
    chosen = (
        added_tokens
        if len(added_tokens) <= MOST_ADDED_TOKENS
        else [*added_tokens[:half], *added_tokens[-half:]]
    )
    around = [
        text
        for token in chosen
        for text in (token, f"word{token}word", f"one {token} two", f"{token}\n{token}", f"x{token[:-1]} y")
    ]
    return [unicodedata.normalize("NFC", text) for text in (*TEXTS, *around)]
