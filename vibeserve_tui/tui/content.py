"""The one way from a string to what Textual's own widgets show: cleaned, never parsed as markup."""

from __future__ import annotations

from textual.content import Content
from textual.dom import DOMNode

from vibeserve_tui.ascii_signs import to_ascii
from vibeserve_tui.safe_text import clean, clean_line
from vibeserve_tui.tui.shell import shell_of


def content(text: str, node: DOMNode) -> Content:
    """One line for a title, a label or a toast, in the sign set of the app that `node` lives in."""
    safe = clean_line(text)
    return Content(to_ascii(safe) if shell_of(node).ascii_only else safe)


def block(text: str, node: DOMNode) -> Content:
    """Text of many lines."""
    safe = clean(text)
    return Content(to_ascii(safe) if shell_of(node).ascii_only else safe)
