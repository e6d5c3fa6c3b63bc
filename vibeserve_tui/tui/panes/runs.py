"""Two runs side by side: what each gained on its own seed. Between runs nothing was measured, so nothing is decided."""

from __future__ import annotations

import textwrap

from vibeserve_tui import events as ev
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.run_state import RunState
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, fit, line, right

LABEL = 10
LEVEL, GAIN = 7, 18


def draw_runs_facts(a: RunState, b: RunState, width: int) -> list[Line]:
    """What was run, how far it went, and what must agree before figures mean anything beside one another."""
    half = max(12, (width - LABEL) // 2)
    rows = [
        ("run", a.run, b.run),
        *((label, _fact(label, a), _fact(label, b)) for label in ("target", "machine", "rounds", "time")),
    ]
    lines = [line((" " * LABEL + fit("A", half) + "B", Ink.MUTED))]
    lines += [
        line((fit(label, LABEL), Ink.MUTED), fit(left, half - 2), "  ", fit(other, half).rstrip())
        for label, left, other in rows
    ]
    return [*lines, *(line((f"{glyphs.ATTENTION} {words}", Ink.WARN)) for words in differences(a, b))]


def _fact(label: str, state: RunState) -> str:
    match label:
        case "target":
            return state.plan.target if state.plan else fig.UNKNOWN
        case "machine":
            return state.device.name if state.device else fig.UNKNOWN
        case "rounds":
            kept = sum(1 for record in state.kept if record.number)
            return f"{state.rounds_played}, {kept} kept"
        case _:
            return fig.clock(state.active_s)


def differences(a: RunState, b: RunState) -> list[str]:
    """Why figures of the two cannot be put beside one another."""
    found = []
    if a.plan and b.plan and a.plan.target_digest != b.plan.target_digest:
        found.append("not the same target files: the figures answer different questions")
    if a.device and b.device and a.device.fingerprint != b.device.fingerprint:
        found.append("not the same machine: only each run's own gain counts")
    return found


def draw_runs_figures(a: RunState, b: RunState) -> list[Line]:
    """For each metric the champion's level and what it gained on its own seed, measured beside it where it was."""
    mine, theirs = _by_metric(a), _by_metric(b)
    keys = list(dict.fromkeys([*mine, *theirs]))
    if not keys:
        return [line(("Neither run has measured a champion.", Ink.MUTED))]
    names = {key: f"{fig.metric_label(key[0])} {key[1]}".rstrip() for key in keys}
    cells = max(map(len, names.values()))
    units = max(len(figure.unit) for figure in (*mine.values(), *theirs.values()))
    head = " " * (cells + units + 2) + "".join(
        right(f"{side} now", LEVEL) + fit("  gain on its seed", GAIN + 2) for side in "AB"
    )
    lines = [line((head.rstrip(), Ink.MUTED))]
    for key in keys:
        unit = next(figure.unit for figure in (mine.get(key), theirs.get(key)) if figure)
        places = fig.column_places(unit, *(figure.b for figure in (mine.get(key), theirs.get(key)) if figure))
        ink = Ink.BOLD if any(figure and figure.headline for figure in (mine.get(key), theirs.get(key))) else Ink.PLAIN
        spans = [Span(fit(names[key], cells) + " ", ink), Span(fit(unit, units) + " ", Ink.MUTED)]
        lines.append((*spans, *_cells(mine.get(key), places), *_cells(theirs.get(key), places)))
    return lines


def _by_metric(state: RunState) -> dict[tuple[str, str], ev.Figure]:
    """The confirmation's figures; before that the champion's own, of which only the headline's total gain is known."""
    if state.confirmation:
        return {(figure.metric, figure.level): figure for figure in state.confirmation.figures}
    record = state.champion_record
    figures = record.measured.figures if record and record.measured else ()
    unknown = {"ratio": None, "ci_low": None, "ci_high": None}
    total = {"ratio": state.total_gain, "ci_low": None, "ci_high": None}
    return {(f.metric, f.level): f.model_copy(update=total if f.headline else unknown) for f in figures}


def _cells(figure: ev.Figure | None, places: int) -> Line:
    if figure is None:
        return line(right(fig.UNKNOWN, LEVEL), " " * (GAIN + 2))
    reading = fig.reading_of(figure.ci_low, figure.ci_high)
    gain = f"  {gain_in_words(figure.ratio, figure.ci_low, figure.ci_high) or fig.UNKNOWN}"
    return line(right(fig.number(figure.b, places), LEVEL), (fit(gain, GAIN + 2), fig.READING_INKS[reading]))


def draw_runs_recipes(a: RunState, b: RunState, width: int) -> list[Line]:
    """What is in both champions, and what only in one."""
    mine, theirs = (tuple(s.champion_record.skills) if s.champion_record else () for s in (a, b))
    rows = (
        ("in both", [name for name in mine if name in theirs]),
        ("only A", [name for name in mine if name not in theirs]),
        ("only B", [name for name in theirs if name not in mine]),
    )
    lines: list[Line] = []
    for label, names in rows:
        wrapped = textwrap.wrap(", ".join(names) or fig.UNKNOWN, max(20, width - LABEL), break_on_hyphens=False)
        lines += [line((fit(label if at == 0 else "", LABEL), Ink.MUTED), part) for at, part in enumerate(wrapped)]
    return lines


def draw_runs(a: RunState, b: RunState, width: int) -> list[Line]:
    return [*draw_runs_facts(a, b, width), BLANK, *draw_runs_figures(a, b), BLANK, *draw_runs_recipes(a, b, width)]
