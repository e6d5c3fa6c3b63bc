"""Diffs as people read them: code in colours, changed words, and finding something in them."""

from __future__ import annotations

import time

from tests.tui.fakes import DIFF
from tests.tui.stage import stage
from vibeserve_tui.tui.ink import Ink, text_of
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.screens.compare import CompareScreen
from vibeserve_tui.tui.widgets.diff_view import Diff, DiffStyle

CODE = '''\
diff --git a/server/engine.py b/server/engine.py
--- a/server/engine.py
+++ b/server/engine.py
@@ -1,3 +1,5 @@ class Engine
 def step(self):
-    return self.model(1, "old")  # once
+    return self.model(2, "new")  # twice
+    """A text
+    over two lines."""
     end = None
'''


def inks(line_number: int, diff: Diff, style: DiffStyle | None = None) -> dict[str, tuple[Ink, Ink | None]]:
    return {span.text: (span.ink, span.ground) for span in diff.rows(style or DiffStyle(), 100)[line_number]}


def test_code_has_the_colours_of_its_grammar_over_the_ground_of_the_change() -> None:
    diff = Diff(CODE)
    context = inks(2, diff)
    assert context["def"] == (Ink.KEYWORD, None)
    assert context["step"] == (Ink.NAME, None)
    added = inks(4, diff)
    assert added["return"] == (Ink.KEYWORD, Ink.ADDED)
    assert added["2"] == (Ink.NUMBER, Ink.ADDED_WORD)
    assert added["new"] == (Ink.STRING, Ink.ADDED_WORD)
    assert inks(3, diff)["old"] == (Ink.STRING, Ink.REMOVED_WORD)


def test_a_string_over_two_lines_is_one_string() -> None:
    second = inks(6, Diff(CODE))
    assert any(ink is Ink.STRING and "over two lines" in text for text, (ink, _) in second.items())


def test_what_is_no_code_keeps_its_plain_look() -> None:
    diff = Diff(CODE.replace("engine.py", "notes.unknown"))
    assert inks(2, diff)["def step(self):"] == (Ink.PLAIN, None)


def test_hits_are_marked_in_letters_of_either_case_and_counted() -> None:
    style = DiffStyle(find="MODEL")
    rows = Diff(CODE).rows(style, 100)
    assert rows.hits() == [3, 4]
    assert inks(4, Diff(CODE), style)["model"] == (Ink.HIT, None)
    assert Diff(CODE).rows(DiffStyle(find="nowhere"), 100).hits() == []


def test_looks_change_no_character() -> None:
    plain = [text_of(row) for row in Diff(CODE.replace(".py", ".unknown")).rows(DiffStyle(), 100)]
    for style in (DiffStyle(), DiffStyle(find="e")):
        assert [text_of(row).replace(".py", ".unknown") for row in Diff(CODE).rows(style, 100)][1:] == plain[1:]


def test_a_thousand_changed_lines_open_in_less_than_the_time_of_a_blink() -> None:
    pairs = "".join(
        f"-    value_{i} = compute({i}, 'old')  # {i}\n+    value_{i} = compute({i + 1}, 'new')\n" for i in range(500)
    )
    text = f"diff --git a/f.py b/f.py\n@@ -1,500 +1,500 @@ def f\n{pairs}"
    begun = time.process_time()
    rows = Diff(text).rows(DiffStyle(), 120)
    drawn = [rows[at] for at in range(60)]
    assert len(drawn) == 60
    assert time.process_time() - begun < 1.2, "400 ms on a quiet machine; the bound leaves room for a busy one"


async def test_find_jumps_goes_on_goes_round_and_ends() -> None:
    async with stage("finished", (120, 40)) as opened:
        await opened.press("3")
        pane = opened.screen.query_one(DiffPane)
        await opened.press("slash", *"bucket", "enter")
        await opened.until('"bucket" 1 of 6')
        await opened.press("n", "n")
        assert '"bucket" 3 of 6' in opened.text
        await opened.press("N", "N", "N")
        assert '"bucket" 6 of 6' in opened.text
        await opened.press("escape")
        assert pane.wanted == ""
        assert "bucket" not in str(pane.border_subtitle)


async def test_a_search_without_a_hit_says_so() -> None:
    async with stage("finished", (120, 40)) as opened:
        await opened.press("3", "slash", *"zebra", "enter")
        await opened.until('"zebra" is not in this diff')


async def test_compare_and_review_can_be_searched_too() -> None:
    async with stage("finished", (120, 40)) as opened:
        opened.screen.select_round(11)
        await opened.press("c", "slash", *"loop", "enter")
        assert isinstance(opened.app.screen, CompareScreen)
        await opened.until('"loop" 1 of 1')
        await opened.press("escape")
        await opened.press("enter")
        await opened.press("slash", *"Warm_Up", "enter")
        await opened.until('"Warm_Up" 1 of 2')


def test_the_sample_of_the_tests_has_what_they_look_for() -> None:
    assert DIFF.lower().count("bucket") >= 6


def test_files_of_dotted_folders_come_last() -> None:
    books = CODE.replace("server/engine.py", ".vibeserve/books.json")
    names = [line.text for line in Diff(books + CODE).files]
    assert names == ["server/engine.py", ".vibeserve/books.json"]
