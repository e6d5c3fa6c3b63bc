from __future__ import annotations

import subprocess
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui.safe_text import LONGEST_LINE, clean, clean_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jx", "x"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("a\tb", "a   b"),
        ("half\ud800", "half\ufffd"),
        ("line\u2028break", "line\nbreak"),
        ("tags\U000e0041", "tags"),
        ("joined\u034f\u180e\u206a\ufff9, filled\u3164\u115f", "joined, filled"),
        ("hidden\U000e0101\ufe01", "hidden"),
        ("e" + "\u0301" * 100, "e" + "\u0301" * 4),
        ("a\x1bPq#0;2\x1b\\b\x1b_x\x1b\\c\x1b^y\x07d\x1bXz\x9ce", "abcde"),
        ("a\x9d0;owned\x9cb", "ab"),
        ("\x1b]0;never ended\nbelow", "\nbelow"),
        ("größe → 12 µs", "größe → 12 µs"),
    ],
)
def test_only_text_survives(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_one_line_stays_one_line() -> None:
    assert clean_line("a\n\n   b\u2028c\n") == "a b c"


@given(st.text())
def test_no_control_or_format_character_ever_survives(text: str) -> None:
    for character in clean(text):
        assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs") or character == "\ufffd"
    assert "\n" not in clean_line(text)
    assert "\x1b" not in clean(text)


@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert clean_line(clean_line(text)) == clean_line(text)


def test_the_module_needs_no_screen_library() -> None:
    code = "import sys, vibeserve_tui.safe_text; assert not {'textual', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("piece", [" ", "\t", "\x9d", "\x1b]", "\x1b[1", "\x1bP", "\r", "e\u0301", "\n "])
def test_the_longest_text_takes_no_longer_than_its_length(piece: str) -> None:
    """Before the answer it is a matter of milliseconds or of hours."""
    begun = time.process_time()
    text = f"é{piece * 200_000}é"
    clean(text)
    assert len(clean_line(text)) <= LONGEST_LINE
    assert time.process_time() - begun < 5
