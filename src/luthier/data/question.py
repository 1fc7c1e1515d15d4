"""What a row asks: the one answer of the split, the check and the search for leaks.

They have to agree, or a split would make what the others call a leak. All of them fold it as deduplication does.
"""

from luthier.text.rows import Row

INSTRUCTING = ("system", "developer")


def question_of(row: Row) -> str:
    """The prompt with what there is to choose from, the user's turns before the first answer, or the whole text; of tokens, those before the first learnt one.

    A system message is left out: it says how to answer, and the same question under two of them is one question. Only where
    nobody asks before the first answer does it stand for the question, and the user's later turns with it. Empty where nothing is asked at all.
    """
    if row.kind == "prompt_completion":
        return row.prompt
    if row.kind == "text":
        return row.text
    if row.tokens is not None:
        return row.tokens.asked.hex()
    before: list[str] = []
    for message in row.messages:
        if message.role == "assistant":
            break
        if message.role not in INSTRUCTING:
            before.append(message.content)
    if any(map(str.strip, before)):
        return "\n".join(before)
    others = [message.content for message in row.messages if message.role != "assistant"]
    return "\n".join(others) if any(map(str.strip, others)) else ""


def question_or_all(row: Row) -> str:
    """What rows are kept together by: the question, or all that is said where nothing is asked."""
    return question_of(row) or "\n".join(message.content for message in row.messages)
