"""Which look each ink has: the theme's semantic tokens, and what stands in for colour where there is none.

Rules of a style sheet could say the same, but a sheet is matched again for every widget; this table is read once per
theme, which halves the time to the first screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style
from textual.color import Color

from vibeserve_tui.tui.ink import Ink, Span


@dataclass(frozen=True, slots=True)
class Look:
    """A token with its share over the background, a tinted ground, and the words of a Rich style."""

    color: str = "foreground"
    share: float = 1.0
    ground: str = "background"
    ground_share: float = 1.0
    words: str = ""
    mono: str = ""
    """Added under NO_COLOR."""
    ansi: str | None = None
    """The whole look with the terminal's own 16 colours; None = the token is one of them already."""
    instead: str = "foreground"
    """The token for themes that lack `color`: only our own have colours for code."""


LOOKS: Mapping[Ink, Look] = {
    Ink.PLAIN: Look(),
    Ink.BOLD: Look(words="bold"),
    Ink.MUTED: Look(share=0.66, mono="dim", ansi="dim"),
    Ink.GOOD: Look("text-success"),
    Ink.GOOD_BOLD: Look("text-success", words="bold"),
    Ink.BAD: Look("text-error"),
    Ink.WARN: Look("text-warning"),
    Ink.ACCENT: Look("text-accent", mono="bold"),
    Ink.ACCENT_BOLD: Look("text-accent", words="bold"),
    Ink.KEY: Look("text-accent", mono="bold"),
    Ink.ADDED: Look(ground="success", ground_share=0.14, mono="bold", ansi="green"),
    Ink.ADDED_WORD: Look(ground="success", ground_share=0.28, words="bold", mono="reverse", ansi="green bold reverse"),
    Ink.REMOVED: Look(ground="error", ground_share=0.14, mono="dim", ansi="red"),
    Ink.REMOVED_WORD: Look(ground="error", ground_share=0.28, words="bold", mono="reverse", ansi="red bold reverse"),
    Ink.FILE: Look(ground="foreground", ground_share=0.12, words="bold", mono="underline", ansi="bold underline"),
    Ink.CURSOR: Look(ground="accent", ground_share=0.14, ansi=""),
    Ink.THUMB: Look(share=0.62, ansi="dim"),
    Ink.HIT: Look(color="background", ground="accent", words="bold", mono="reverse", ansi="reverse bold"),
    Ink.KEYWORD: Look("code-keyword", ansi="", instead="text-accent"),
    Ink.NAME: Look("code-name", ansi="", instead="text-primary"),
    Ink.STRING: Look("code-string", ansi="", instead="text-secondary"),
    Ink.NUMBER: Look("code-number", ansi="", instead="text-secondary"),
    Ink.COMMENT: Look(share=0.86, words="italic", mono="dim", ansi=""),
}


def ink_styles(variables: Mapping[str, str], *, ansi: bool, no_color: bool) -> dict[Ink, Style]:
    """Every ink as a Rich style, for the variables of a theme."""
    return {ink: _style(look, variables, ansi=ansi, no_color=no_color) for ink, look in LOOKS.items()}


def span_style(styles: Mapping[Ink, Style], span: Span) -> Style:
    """How a span looks: its ink's own style, or its colour over the style of its ground."""
    own = styles[span.ink]
    if span.ground is None:
        return own
    under = styles[span.ground]
    # With 16 colours, and without any, only the ground says what was added and removed.
    return under if own.color is None or own.color.is_default else under + Style(color=own.color, italic=own.italic)


def _style(look: Look, variables: Mapping[str, str], *, ansi: bool, no_color: bool) -> Style:
    extra = Style.parse(look.mono) if no_color and look.mono else Style()
    if ansi:
        base = Style(color="default", bgcolor="default")
        if look.ansi is not None:
            return base + Style.parse(look.ansi) + extra
        color = Color.parse(variables[look.color]).rich_color
        return base + Style(color=color) + Style.parse(look.words) + extra
    background = Color.parse(variables["background"])
    ground = background.blend(Color.parse(variables[look.ground]), look.ground_share)
    shade = background.blend(Color.parse(variables.get(look.color) or variables[look.instead]), look.share)
    return Style(color=shade.rich_color, bgcolor=ground.rich_color) + Style.parse(look.words) + extra
