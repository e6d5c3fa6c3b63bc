"""The static look at a candidate's source: what tests cannot see, or only by luck.

Only what the seed does not have is looked at. A finding is hard where there is no honest reason for the text, such as
a patched clock or the benchmark's own sentences; everything else is a warning for reviewers and decides nothing.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.evaluation.corpus import Corpus
from vibeserve_tui.evaluation.python_source import Severity, Suspect, suspects
from vibeserve_tui.evaluation.quotations import Quotations
from vibeserve_tui.execution.guard import same_content

NATIVE = frozenset({".c", ".cc", ".cpp", ".cxx", ".cu", ".h", ".hpp", ".m", ".mm", ".metal", ".rs"})
_NATIVE_RULES = (
    (re.compile(r"\b(clock_settime|settimeofday)\s*\("), Severity.FAIL, "sets a clock"),
    (re.compile(r"LD_PRELOAD"), Severity.FAIL, "preloads code into a process"),
    (
        re.compile(r"\b(fork|vfork|posix_spawnp?|system|popen|daemon|execv[pe]*)\s*\("),
        Severity.WARN,
        "starts a process",
    ),
    (re.compile(r"\b(shm_open|memfd_create)\s*\(|/dev/shm"), Severity.WARN, "shares memory by name"),
    (re.compile(r"\b(socket|connect|getaddrinfo)\s*\("), Severity.WARN, "opens a connection"),
)
SAID = frozenset({tokenize.STRING, tokenize.COMMENT, tokenize.NUMBER, tokenize.NL, tokenize.NEWLINE}) | {
    getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)  # Python 3.12 takes f-strings apart
}
LISTING = frozenset(",[](){}:")


@dataclass(frozen=True, slots=True)
class Finding:
    path: str
    line: int
    severity: Severity
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.what}"


def scan(folder: Path, seed: Path, corpus: Corpus) -> tuple[Finding, ...]:
    """All findings in a tree, hard ones first, then by file and line."""
    found: set[Finding] = set()
    known = _lines_of(seed)
    quotations = Quotations(corpus)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        text = _text(path)
        if text is None or same_content(path, seed / name):
            continue
        lines = text.split("\n")
        found.update(
            Finding(name, suspect.line, suspect.severity, suspect.what)
            for suspect in _suspects(path, text)
            if lines[suspect.line - 1].strip() not in known
        )
        found.update(
            Finding(name, first + line, Severity.FAIL, f"quotes the benchmark: {quoted}")
            for first, said in _said(path, text)
            for line, quoted in quotations.found(said)
        )
    return tuple(sorted(found, key=lambda one: (one.severity is Severity.WARN, one.path, one.line, one.what)))


def _lines_of(seed: Path) -> frozenset[str]:
    """Every line of the seed: code that a recipe moves to another file stays the seed's."""
    texts = filter(None, map(_text, sorted(seed.rglob("*"))))
    return frozenset(line.strip() for text in texts for line in text.splitlines())


def _text(path: Path) -> str | None:
    """None for what is no text; such files are the guard's business."""
    if not path.is_file() or path.is_symlink():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _suspects(path: Path, text: str) -> Iterator[Suspect]:
    if path.suffix == ".py":
        try:
            yield from list(suspects(ast.parse(text)))
        except (SyntaxError, ValueError):
            yield Suspect(1, Severity.WARN, "is not Python")
        except (RecursionError, MemoryError):
            yield Suspect(1, Severity.FAIL, "is nested too deeply to be read")
    elif path.suffix in NATIVE:
        for number, line in enumerate(text.split("\n"), 1):
            code = line.partition("//")[0]
            yield from (Suspect(number, severity, what) for rule, severity, what in _NATIVE_RULES if rule.search(code))


def _said(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Where a tree could quote something: strings, comments and lists of Python, everything of other files."""
    if path.suffix != ".py":
        yield 1, text
        return
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        yield 1, text
        return
    for is_said, run in itertools.groupby(tokens, _is_said):
        if is_said:
            first, *others = run
            yield first.start[0], first.string + "".join(token.string for token in others)


def _is_said(token: tokenize.TokenInfo) -> bool:
    """Neighbours of this kind are read as one text: implicit concatenation, lists, comments of several lines."""
    return token.type in SAID or token.string in LISTING
