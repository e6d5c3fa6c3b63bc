"""The long-term memory of a run: one Markdown file that agents append to and a person may read and edit.

It has a few fixed headings; a note is one bullet below one of them. An edit by a person replaces the whole text, guarded
by the digest of what they edited, so that neither side ever loses a line.
"""

from __future__ import annotations

import hashlib

WORKS = "What works"
DEAD_ENDS = "Dead ends"
UNCLEAR = "Unclear"
IDEAS = "Ideas"
OPERATOR = "From the operator"
HEADINGS = (WORKS, DEAD_ENDS, UNCLEAR, IDEAS, OPERATOR)


def add_note(text: str, heading: str, note: str) -> str:
    """The text with one more bullet at the end of the heading's section; a bullet that stands there already is not
    repeated.
    """
    lines = text.splitlines()
    title, bullet = f"## {heading}", f"- {' '.join(note.split())}"
    if title not in lines:
        head = lines or ["# Memory"]
        return "\n".join([*head, "", title, bullet]) + "\n"
    start = lines.index(title) + 1
    end = next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), len(lines))
    if bullet in lines[start:end]:
        return text
    while end > start and not lines[end - 1].strip():
        end -= 1
    return "\n".join([*lines[:end], bullet, *lines[end:]]) + "\n"


def digest(text: str) -> str:
    """sha256 of the text, as `edit_memory` commands carry it."""
    return hashlib.sha256(text.encode()).hexdigest()
