"""What each sign of ours becomes where a terminal or a stream takes ASCII only, and when that is so.

Only our own signs have twins, each as wide as the sign, so that no column moves; foreign text is nobody's to spell anew.
`⏎` and `⇧`, which stand in running text, become words.
"""

from __future__ import annotations

import codecs
import locale
from collections.abc import Mapping

TWINS: Mapping[str, str] = {
    "●": "*", "◆": "@", "≈": "~", "↺": "<", "✗": "x", "∅": "0", "◐": ">", "‖": "?", "★": "^", "○": "o", "■": "#", "✓": "v",
    "–": "-", "—": "-", "›": "$", "▌": "=", "◇": "+", "…": "~", "←": "<", "→": ">", "┊": ":", "⋯": ".", "╌": "-", "┈": "=", "▓": "#", "░": ".",
    "−": "-", "×": "x", "·": "-", "Δ": "d", "δ": "d", "≥": ">", "≤": "<", "±": "~", "⏎": "RET", "⇧": "S-", "↑": "^", "↓": "v", "’": "'",
    "▐": "|", "─": "-", "│": "|", "┤": "|", "├": "|", "┼": "+", "└": "+", "┴": "+", "┬": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
    "◂": "<", "▸": ">", "▾": "v", "█": "#", "▏": " ", "▎": " ", "▍": "-", "▋": "=", "▊": "=", "▉": "#",
    "▁": "_", "▂": ".", "▃": "-", "▄": "~", "▅": "=", "▆": "+", "▇": "*", "⠀": " ",
    "µ": "u", "²": "2", "³": "3", "√": "v", "π": "p",
}  # fmt: skip
_BRAILLE = {chr(0x2801 + dots): "." for dots in range(255)} | dict.fromkeys("⠉⠒⠤⣀", "-")
_TO_ASCII = str.maketrans({**_BRAILLE, **TWINS})
TWINS_ELSE_QUESTION = "vibeserve.twins"
"""How a stream treats what its encoding lacks: our signs become their twins, anything else `?`."""


def to_ascii(text: str) -> str:
    """The text with every sign of ours replaced by its ASCII twin, cell by cell."""
    return text if text.isascii() else text.translate(_TO_ASCII)


def lacks_signs(environment: Mapping[str, str]) -> bool:
    """Whether the locale is none of UTF-8's; where none is set at all, Python's own guess decides."""
    if language := _language(environment):
        return "utf" not in language.lower()
    return "utf" not in locale.getpreferredencoding(do_setlocale=False).lower()


def draws_wide(environment: Mapping[str, str]) -> bool:
    """Whether the locale's terminals may draw most of our signs two cells wide."""
    return _language(environment).startswith(("zh", "ja", "ko"))


def _language(environment: Mapping[str, str]) -> str:
    return environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""


def _twins(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    twins = to_ascii(error.object[error.start : error.end])
    return "".join(sign if sign.isascii() else "?" for sign in twins), error.end


codecs.register_error(TWINS_ELSE_QUESTION, _twins)
