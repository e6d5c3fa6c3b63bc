"""Signs of ours on terminals and streams that take ASCII only."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import vibeserve_tui
from tests.processes import ROOT, vibeserve
from vibeserve_tui.ascii_signs import to_ascii

SOURCES = sorted(Path(vibeserve_tui.__file__).parent.rglob("*.py"))
NEVER_SHOWN = frozenset("␂␃\ufffd")
"""They stand in texts for servers for what no text holds."""


def strings(path: Path) -> Iterator[str]:
    """Of a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_every_sign_in_what_we_say_has_a_twin() -> None:
    # safe_text.py names characters of others, to take them out.
    said = "".join(text for path in SOURCES if path.name != "safe_text.py" for text in strings(path))
    assert {sign for sign in to_ascii(said) if not sign.isascii()} - NEVER_SHOWN == set()


def test_a_stream_that_takes_ascii_only_gets_twins_and_a_question_mark_for_the_rest(tmp_path: Path) -> None:
    done = vibeserve("--help", PYTHONIOENCODING="ascii")
    assert done.out.startswith("vibeserve - agents write the LLM serving system")
    assert "0 finished - 1 failed" in done.out
    done = vibeserve("attach", "é×", "--runs-dir", str(tmp_path), PYTHONIOENCODING="ascii")
    assert done.out == "" and done.err.isascii()


def test_a_terminal_of_a_locale_without_utf_8_gets_ascii() -> None:
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "vibeserve_tui", "--help"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"LC_ALL": "C"}, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(main, 1 << 16)
    os.close(main)
    assert shown.isascii()
    assert b"vibeserve - agents" in shown
