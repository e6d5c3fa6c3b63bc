"""Text that is safe to show: what agents, files and servers wrote, without control or bidi characters.

Escape sequences could repaint the screen, and direction marks could make a shown command differ from the real one.
Both become visible or vanish here. This module never decides about colour, width or markup.
"""

from __future__ import annotations

import re
from typing import NewType

SafeText = NewType("SafeText", str)
"""A string that has been through this module."""

# CSI and OSC sequences first, as a whole: dropping only the ESC would leave their tail as litter.
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]|\x9b[0-?]*[ -/]*[@-~]"
)
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\ufe0e\ufe0f"
_CONTROLS = "".join(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r")
_SEPARATORS = "\u2028\u2029\x0b\x0c\x85"
_TAG_CHARACTERS = "".join(chr(code) for code in range(0xE0000, 0xE0080))
_SURROGATES = "".join(chr(code) for code in range(0xD800, 0xE000))
_UNWANTED = str.maketrans(
    dict.fromkeys(_BIDI + _INVISIBLE + _CONTROLS + _TAG_CHARACTERS, "")
    | dict.fromkeys(_SURROGATES, "\ufffd")
    | dict.fromkeys(_SEPARATORS, "\n")
)
TAB_WIDTH = 4


def clean(text: str) -> SafeText:
    """The text with its line breaks (as LF) and nothing else that a terminal would obey; tabs become spaces."""
    if text.isascii() and text.isprintable():
        return SafeText(text)
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    # A lone CR is a progress bar's way of overwriting its line: the last state is the one worth showing.
    lines = [line.rsplit("\r", 1)[-1] if "\r" in line.rstrip("\r") else line.rstrip("\r") for line in text.split("\n")]
    return SafeText("\n".join(lines).translate(_UNWANTED).expandtabs(TAB_WIDTH))


def clean_line(text: str) -> SafeText:
    """The text on one line: each run of white space that holds a line break becomes one space."""
    if text.isascii() and text.isprintable():
        return SafeText(text)
    return SafeText(re.sub(r"\s*\n\s*", " ", clean(text).strip("\n")))
