"""Mend text that was decoded with the wrong encoding (`schÃ¶n` for `schön`), by ftfy; the one file that knows it.

ftfy can do much more: straighten quotes, take ligatures apart, decode HTML entities. All of that is off, since it changes text
that is as its writer meant it.
"""

import importlib
from collections.abc import Callable
from typing import Any

from luthier.data.clean.filter import TextEdit
from luthier.floor.errors import EnvironmentFault

# Only what undoes a wrong decoding. Lossy sequences, which hold U+FFFD or `?` where a byte was lost, are mended as far as ftfy can
# tell what was there.
SETTINGS: dict[str, Any] = {
    "unescape_html": False,
    "remove_terminal_escapes": False,
    "fix_encoding": True,
    "restore_byte_a0": True,
    "replace_lossy_sequences": True,
    "decode_inconsistent_utf8": True,
    "fix_c1_controls": True,
    "fix_latin_ligatures": False,
    "fix_character_width": False,
    "uncurl_quotes": False,
    "fix_line_breaks": False,
    "fix_surrogates": False,
    "remove_control_chars": False,
    "normalization": None,
    "explain": False,
}


def repair_filter() -> TextEdit:
    """The filter `repair`. Raises EnvironmentFault (env-extra) if ftfy is not installed."""
    ftfy = _import_ftfy()
    config = ftfy.TextFixerConfig(**SETTINGS)
    fix: Callable[..., str] = ftfy.fix_text

    def repair(text: str) -> str:
        # No wrong decoding gives plain ASCII: the question is answered at the speed of memory.
        return text if text.isascii() else fix(text, config)

    return TextEdit("repair", repair)


def ftfy_version() -> str:
    """The version that mends, for the key of the prepared tokens."""
    version: str = _import_ftfy().__version__
    return version


def _import_ftfy() -> Any:
    try:
        return importlib.import_module("ftfy")
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "mending encodings needs the library ftfy",
            where="data.clean.repair",
            fix='Install it: pip install "luthier[clean]", or set data.clean.repair=false',
        ) from fault
