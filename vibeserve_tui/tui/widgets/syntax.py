"""Code as runs of inks: which characters are keywords, names, strings, numbers and comments. Nothing is drawn here.

Pygments reads the code. A hunk is read as one text, so that a string over several lines is seen as one; what began
before the hunk cannot be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.token import Token
from pygments.util import ClassNotFound

from vibeserve_tui.tui.ink import Ink

Run = tuple[int, int, Ink]
"""Start, end and ink of some characters of one line."""
MOST_CHARACTERS = 400_000
"""Beyond this nobody reads a hunk for its grammar, and reading it would be felt."""
INKS = (
    (Token.Keyword, Ink.KEYWORD),
    (Token.Operator.Word, Ink.KEYWORD),
    (Token.Name.Function, Ink.NAME),
    (Token.Name.Class, Ink.NAME),
    (Token.Name.Decorator, Ink.NAME),
    (Token.Name.Builtin, Ink.NAME),
    (Token.Literal.String, Ink.STRING),
    (Token.Literal.Number, Ink.NUMBER),
    (Token.Comment, Ink.COMMENT),
)


def runs_of(lines: Sequence[str], path: str) -> list[list[Run]]:
    """The runs of each line; none where the name of the file does not say what language it is."""
    runs: list[list[Run]] = [[] for _ in lines]
    name = PurePosixPath(path)
    lexer = _lexer(f"x{name.suffix}" if name.suffix else name.name)
    if lexer is None or sum(map(len, lines)) > MOST_CHARACTERS:
        return runs
    row = column = 0
    for kind, text in lexer.get_tokens("\n".join(lines)):
        ink = next((ink for token, ink in INKS if kind in token), None)
        for at, part in enumerate(text.split("\n")):
            if at:
                row, column = row + 1, 0
            if part and ink is not None and row < len(runs):
                runs[row].append((column, column + len(part), ink))
            column += len(part)
    return runs


@lru_cache(maxsize=64)
def _lexer(name: str) -> Lexer | None:
    """By the kind of file, because Pygments looks through all its languages for each name."""
    try:
        return get_lexer_for_filename(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
