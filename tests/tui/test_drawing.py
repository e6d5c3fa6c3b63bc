"""The pure part: figures, bars, whiskers, charts, tables and diffs, without an app."""

from __future__ import annotations

import locale
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.tui import journals
from vibeserve_tui.ascii_signs import to_ascii
from vibeserve_tui.events import Figure
from vibeserve_tui.run_state import RunState
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Span, cut, fit, text_of, width_of
from vibeserve_tui.tui.panes.header import draw_header
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.panes.rounds import draw_rows, rows_of
from vibeserve_tui.tui.panes.trend import limit_of
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.canvas import nice_ticks, robust_range
from vibeserve_tui.tui.widgets.chart import MOST_ROWS, Point, Shares, Window, share_chart, trend_chart, window_chart
from vibeserve_tui.tui.widgets.diff_text import Kind, parse_diff
from vibeserve_tui.tui.widgets.diff_view import Diff, DiffStyle
from vibeserve_tui.tui.widgets.figure_table import draw_figures
from vibeserve_tui.tui.widgets.whisker import bar, span_for, sparkline, whisker

finite = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


def view_of(name: str) -> RunView:
    script = journals.ALL[name]()
    state = RunState()
    for record in journals.records(script):
        state.apply(record)
    return RunView(state=state, now=script.now + 42, selected=max(state.rounds, default=0))


# figures


@pytest.mark.parametrize(
    ("share", "expected"),
    [(-0.144, "−14.4"), (0.058, "+5.8"), (0.0, "0.0"), (-0.0001, "0.0"), (None, "–"), (float("nan"), "–")],
)
def test_differences_carry_their_sign(share: float | None, expected: str) -> None:
    assert fig.percent(share) == expected


@pytest.mark.parametrize(
    ("unit", "values", "places"),
    [
        ("ms", (98.3, 412.0), 1),
        ("ms", (8.31, 22.0), 2),
        ("tok/s", (67.9, 388.1), 1),
        ("tok/s", (388.1, 421.6), 0),
        ("MiB", (590.0,), 0),
    ],
)
def test_a_column_has_one_number_of_decimals(unit: str, values: tuple[float, ...], places: int) -> None:
    assert fig.column_places(unit, *values) == places


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("output_throughput", "throughput"),
        ("median_ttft_ms", "TTFT p50"),
        ("p99_ttft_ms", "TTFT p99"),
        ("peak_rss_mib", "peak memory"),
        ("odd", "odd"),
    ],
)
def test_metrics_have_names_that_people_use(name: str, label: str) -> None:
    assert fig.metric_label(name) == label


def test_less_latency_and_more_throughput_are_both_better() -> None:
    less = Figure(
        metric="p50_ttft_ms", level="c1", unit="ms", direction="min", a=100, b=80, ratio=1.25, ci_low=1.2, ci_high=1.3
    )
    more = Figure(
        metric="output_throughput",
        level="c1",
        unit="tok/s",
        direction="max",
        a=80,
        b=100,
        ratio=1.25,
        ci_low=1.2,
        ci_high=1.3,
    )
    assert fig.change_of(less).reading is fig.change_of(more).reading is fig.Reading.BETTER
    assert fig.percent(fig.change_of(less).delta) == "−20.0"
    assert fig.interval(fig.change_of(less)) == "[−23.1, −16.7]"
    assert fig.percent(fig.change_of(more).delta) == "+25.0"


def test_an_interval_across_zero_is_unclear_whatever_the_difference() -> None:
    figure = Figure(
        metric="x", level="c1", unit="ms", direction="min", a=100, b=80, ratio=1.25, ci_low=0.99, ci_high=1.6
    )
    assert fig.change_of(figure).reading is fig.Reading.UNCLEAR


@pytest.mark.parametrize(("seconds", "text"), [(192, "03:12"), (0, "00:00"), (7500, "2 h 05"), (-3, "00:00")])
def test_clock(seconds: float, text: str) -> None:
    assert fig.clock(seconds) == text


# cells


@given(st.text(), st.integers(0, 40))
def test_fitted_text_has_exactly_its_cells(text: str, width: int) -> None:
    assert cell_len(fit(text.replace("\n", ""), width)) == width


@given(st.lists(st.text(alphabet="ab…漢→ ", max_size=9), max_size=5), st.integers(0, 30))
def test_cut_spans_never_exceed_their_width(texts: list[str], width: int) -> None:
    spans = tuple(Span(text) for text in texts)
    assert width_of(cut(spans, width)) <= width or width == 0


@given(finite, finite, st.integers(1, 12))
def test_ticks_enclose_the_data(a: float, b: float, count: int) -> None:
    low, high = sorted((a, b))
    ticks = nice_ticks(low, high, count)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert len(ticks) >= 2
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert ticks == sorted(ticks)


@given(st.floats(0, 4), st.floats(0, 4), st.floats(0, 4), st.integers(7, 40))
def test_a_whisker_fills_its_cells_and_marks_a_zero_inside(a: float, b: float, c: float, width: int) -> None:
    low, mid, high = sorted((a - 2, b - 2, c - 2))
    text = whisker(fig.Change(mid, low, high, fig.Reading.UNCLEAR), 0.2, width)
    assert len(text) == width
    assert sum(sign in text for sign in "●◂▸") >= 1


@given(st.floats(-1, 9), st.integers(0, 20))
def test_a_bar_has_its_width(value: float, width: int) -> None:
    assert len(bar(value, 4, width)) == width


def test_the_whisker_axis_grows_until_it_holds_the_interval() -> None:
    assert span_for([fig.Change(0.81, 0.76, 0.86)]) == 1.0
    assert span_for([fig.Change(-0.14, -0.17, -0.12)]) == 0.2
    assert span_for([]) == 0.2


def test_a_sparkline_shows_the_last_values() -> None:
    assert sparkline([0, 1, 2, 8], 3) == "▂▃█"


def test_a_spike_does_not_flatten_the_rest() -> None:
    assert robust_range([*[100.0 + i / 10 for i in range(100)], 9000.0]) == (100.2, 109.8)


# charts


def windows(count: int, samples: int = 0) -> list[Window]:
    rng = random.Random(3)
    sides = "ABBABAAB" * 8
    return [
        Window(
            sides[i], i // 4 + 1, f"{sides[i]} r{i % 2}", 100.0 + i, tuple(rng.gauss(100, 9) for _ in range(samples))
        )
        for i in range(count)
    ]


@given(st.integers(0, 30), st.integers(0, 64), st.integers(0, 130), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_a_chart_never_leaves_its_place(count: int, samples: int, width: int, height: int) -> None:
    lines = window_chart(windows(count, samples), width, height)
    assert len(lines) <= min(height, MOST_ROWS)
    assert all(width_of(row) <= width for row in lines)


def test_the_window_chart_draws_every_window_and_names_its_side() -> None:
    text = "\n".join(text_of(row) for row in window_chart(windows(4, 20), 60, 16))
    assert text.count("A r0") == 1
    assert text.count("B r1") == 1
    assert "┊" in text


def trend(limit: float | None) -> str:
    points = [Point(n, "●", Ink.GOOD, 100.0 * n, "", 100.0 * n) for n in (1, 2, 3)]
    return "\n".join(text_of(row) for row in trend_chart(points, 50, 14, limit))


def test_the_limit_of_the_device_is_drawn_unless_it_is_so_far_that_it_flattens_the_rest() -> None:
    assert "┈" in trend(500.0)
    assert "┈" not in trend(None)
    assert trend(50_000.0) == trend(None)
    slow = Figure(metric="m", level="c1", unit="ms", direction="min", b=30.0, headroom=3.0)
    fast = slow.model_copy(update={"direction": "max"})
    assert (limit_of(slow), limit_of(fast), limit_of(None)) == (10.0, 90.0, None)


def test_shares_rise_from_left_to_right() -> None:
    lines = share_chart([Shares("A", tuple(range(50, 150)), Ink.PLAIN)], "ms", 60, 14)
    assert text_of(lines[0]).lstrip().startswith("100 %")
    assert text_of(lines[-1]).rstrip().endswith("ms")


# tables


@pytest.mark.parametrize("width", [40, 50, 62, 76, 84, 116, 196])
def test_figures_are_never_cut_in_the_rounds_table(width: int) -> None:
    view = view_of("finished")
    metric = view.state.headline
    assert metric is not None
    lines = draw_rows(rows_of(view), metric, width)
    assert all(width_of(row) <= max(width, 50) for row in lines)
    text = "\n".join(text_of(row) for row in lines)
    for value in ("67.9", "96.4", "171.3", "388.1", "399.0"):
        assert value in text
    assert "8←6" in text


@pytest.mark.parametrize("width", [36, 50, 76, 98, 118])
def test_the_figure_table_stays_in_its_width(width: int) -> None:
    figures = journals.figures(67.9, 388.1, 5.7, 0.1)
    lines = draw_figures(figures, ("r0", "r8"), width)
    assert len(lines) == 1 + len(figures)
    assert all(width_of(row) <= width for row in lines[1:])


def test_the_header_answers_at_every_width() -> None:
    view = view_of("running")
    for width in range(42, 220, 3):
        first, second = draw_header(view, width)
        assert width_of(first) <= width
        assert "tiny-llama-chat" in text_of(first)
        if width >= 60:
            assert "388 tok/s" in text_of(second)


def test_markdown_joins_paragraphs_and_hangs_items() -> None:
    lines = [
        text_of(row)
        for row in draw_markdown("# T\n\none\ntwo\n- item that is\n  long enough to wrap\n```\ncode  kept\n```\n", 16)
    ]
    assert lines == ["# T", "", "one two", "- item that is", "  long enough to", "  wrap", "code  kept"]


# signs


def test_every_sign_is_one_cell_in_both_sets_and_no_emoji() -> None:
    signs = [value for name, value in vars(glyphs).items() if name.isupper() and isinstance(value, str)]
    for sign in (*signs, *glyphs.OUTCOMES.values(), *glyphs.ISSUES.values()):
        assert all(cell_len(character) == 1 for character in sign)
        assert len(to_ascii(sign)) == len(sign)
        assert to_ascii(sign).isascii()


@pytest.mark.parametrize(
    ("chosen", "environment", "expected"),
    [
        ("ascii", {"LANG": "en_US.UTF-8"}, True),
        ("unicode", {"LANG": "ja_JP.UTF-8"}, False),
        ("auto", {"LANG": "en_US.UTF-8"}, False),
        ("auto", {"LANG": "ja_JP.UTF-8"}, True),
        ("auto", {"LC_ALL": "zh_CN.GB18030", "LANG": "en_US.UTF-8"}, True),
        ("auto", {"LC_ALL": "", "LANG": "C"}, True),
        ("auto", {"LANG": "C.UTF-8"}, False),
        ("auto", {}, "utf" not in locale.getpreferredencoding(do_setlocale=False).lower()),
    ],
)
def test_signs_follow_the_locale(chosen: glyphs.GlyphSet, environment: dict[str, str], expected: bool) -> None:
    assert glyphs.wants_ascii(chosen, environment) is expected


# diffs

WORDS = st.lists(
    st.sampled_from(
        ["alpha", "beta", "  x = 1", "--- x", "+++ y", "@@ -1 +1 @@", "", "déjà", "\tz", "diff --git a/x b/x"]
    ),
    max_size=14,
)


@given(WORDS, WORDS)
@settings(max_examples=25, deadline=None)
def test_a_parsed_diff_has_the_lines_that_git_changed(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    for name, lines in (("a", before), ("b", after)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    text = git_diff(folder)
    parsed = parse_diff(text)
    added = [line.text for line in parsed if line.kind is Kind.ADDED]
    removed = [line.text for line in parsed if line.kind is Kind.REMOVED]
    body = text.split("\n@@", 1)[-1] if "\n@@" in text else ""
    assert len(added) == sum(row.startswith("+") for row in body.split("\n")[1:])
    assert len(removed) == sum(row.startswith("-") for row in body.split("\n")[1:])
    assert all(0 <= start < end <= len(line.text) for line in parsed for start, end in line.changed)


def git_diff(folder: Path) -> str:
    command = ["git", "-c", "core.quotepath=off", "diff", "--no-index", "--no-color", "a", "b"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


PAIR = """\
diff --git a/x.py b/x.py
--- a/x.py
+++ b/x.py
@@ -1,3 +1,3 @@ def f
 same
-    return value + 1
+    return value + 2
 end
\\ No newline at end of file
"""


def test_the_words_that_differ_are_marked_in_both_lines() -> None:
    removed, added = (line for line in parse_diff(PAIR) if line.kind in (Kind.ADDED, Kind.REMOVED))
    assert [removed.text[a:b] for a, b in removed.changed] == ["1"]
    assert [added.text[a:b] for a, b in added.changed] == ["2"]


def test_numbers_and_files_are_kept() -> None:
    lines = parse_diff(PAIR)
    assert [(line.kind, line.old, line.new) for line in lines[2:]] == [
        (Kind.CONTEXT, 1, 1), (Kind.REMOVED, 2, None), (Kind.ADDED, None, 2), (Kind.CONTEXT, 3, 3),
    ]  # fmt: skip
    assert lines[0].text == "x.py"
    assert Diff(PAIR).summary == "1 file +1 −1"


@pytest.mark.parametrize(
    "style", [DiffStyle(), DiffStyle(split=True), DiffStyle(wrap=True)], ids=["unified", "split", "wrap"]
)
@pytest.mark.parametrize("width", [30, 70, 118])
def test_diff_rows_never_exceed_the_width(style: DiffStyle, width: int) -> None:
    rows = Diff(PAIR.replace("value", "value_" * 12)).rows(style, width)
    assert all(width_of(row) <= width for row in rows)


def test_split_puts_what_was_replaced_beside_its_replacement() -> None:
    rows = Diff(PAIR).rows(DiffStyle(split=True), 80)
    text = [text_of(row) for row in rows]
    assert any("value + 1" in row and "value + 2" in row for row in text)
    assert {row.index("│") for row in text[2:]} == {39}


def test_wrapping_loses_no_character() -> None:
    long = "x" * 150
    rows = Diff(f"diff --git a/f b/f\n@@ -0,0 +1 @@\n+{long}\n").rows(DiffStyle(wrap=True), 40)
    assert "".join(text_of(row).strip() for row in rows).count("x") == 150


def test_a_thousand_lines_are_parsed_quickly_and_drawn_only_where_seen() -> None:
    body = "".join(f"+line {i}\n" for i in range(1000))
    rows = Diff(f"diff --git a/f b/f\n@@ -0,0 +1,1000 @@\n{body}").rows(DiffStyle(), 100)
    assert len(rows) == 1002
    assert text_of(rows[501]).split() == ["500", "+", "line", "499"]
    assert rows.starts(Kind.FILE) == [0]
    assert rows.starts(Kind.HUNK) == [1]
