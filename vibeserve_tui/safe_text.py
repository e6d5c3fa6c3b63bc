"""Text that is safe to show: what agents, files and servers wrote, without control or bidi characters.

Escape sequences could repaint the screen, and direction marks could make a shown command differ from the real one.
Both become visible or vanish here. This module never decides about colour, width or markup.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import NewType

SafeText = NewType("SafeText", str)
"""A string that has been through this module."""

# Sequences first, as a whole: dropping only the ESC would leave their tail as litter. A string without an end (OSC, DCS,
# SOS, PM, APC) hides the rest of its line and no more: what stands below is for the reader to see.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)|\x1b[@-Z\\-_]"
)
# Format characters, among them those that change the direction, and letters that are blank or not there at all.
_UNSEEN = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891),
    (0x8E2, 0x8E2), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E),
    (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
    (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_MARK = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]"
)
# No writing has more on one letter; a heap of them covers the lines above and below.
_HEAP = re.compile(f"(?<={_MARK}{{4}}){_MARK}+")
_CONTROLS = (range(0x09), range(0x0B, 0x0D), range(0x0E, 0x20), range(0x7F, 0xA0))
_SURROGATES = range(0xD800, 0xE000)
_SEPARATORS = (0x2028, 0x2029, 0x0B, 0x0C, 0x85)
_UNWANTED = (
    dict.fromkeys(chain(*(range(first, last + 1) for first, last in _UNSEEN), *_CONTROLS), "")
    | dict.fromkeys(_SURROGATES, "\ufffd")
    | dict.fromkeys(_SEPARATORS, "\n")
)
TAB_WIDTH = 4
LONGEST_LINE = 20_000
"""Characters; no screen has room for them, and looking at a megabyte again with every repaint would hold it up."""


def clean(text: str) -> SafeText:
    """The text with its line breaks (as LF) and nothing else that a terminal would obey; tabs become spaces."""
    if text.isascii() and text.isprintable():
        return SafeText(text)
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    # A lone CR is a progress bar's way of overwriting its line: the last state is the one worth showing.
    lines = [line.rsplit("\r", 1)[-1] if "\r" in line.rstrip("\r") else line.rstrip("\r") for line in text.split("\n")]
    return SafeText(_HEAP.sub("", "\n".join(lines).translate(_UNWANTED)).expandtabs(TAB_WIDTH))


def clean_line(text: str) -> SafeText:
    """The beginning of the text, on one line: each run of white space that holds a line break becomes one space."""
    text = text[:LONGEST_LINE]
    if text.isascii() and text.isprintable():
        return SafeText(text)
    first, *others = clean(text).strip("\n").split("\n")
    line = " ".join(filter(None, map(str.strip, (first, *others)))) if others else first
    return SafeText(line[:LONGEST_LINE])
