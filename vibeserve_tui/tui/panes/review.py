"""All about one round on a page: figures with intervals, the judge's steps, and what the gate would do."""

from __future__ import annotations

import textwrap

from vibeserve_tui import events as ev
from vibeserve_tui.reasons import in_words
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, cut, fit, line, spread, width_of
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.figure_table import SIGNS, draw_figures

LABEL_CELLS = 8


def title_of(view: RunView, number: int) -> str:
    task = view.task_of(number)
    issue = f"{task.issue} " if task and task.issue else ""
    return f"Round {number} · {issue}{task.title if task else ''}"


def draw_review(view: RunView, number: int, width: int) -> list[Line]:
    """The page from top to bottom; tables are cut at the right edge, sentences go on below."""
    measured = view.measured_of(number)
    lines: list[Line] = []
    if measured and measured.figures:
        lines += [*_headline(view, number, measured, width), BLANK]
        labels = _labels(view, number)
        lines += [*draw_figures(measured.figures, labels, width), *_gate_lines(measured, width), BLANK]
    else:
        lines += [line(("No figures: the round ended before it was measured.", Ink.MUTED)), BLANK]
    lines += _judge_lines(view, number, width)
    lines += _decision_lines(view, number, width)
    lines += _hypothesis_lines(view, number, width)
    return lines


def _labels(view: RunView, number: int) -> tuple[str, str]:
    """What was measured beside one another: the champion of that time, which need not be the parent."""
    against = view.state.against.get(number, view.parent_of(number))
    return (fig.UNKNOWN if against is None else f"r{against}"), f"r{number}"


def _headline(view: RunView, number: int, measured: ev.Measured, width: int) -> list[Line]:
    figure = measured.headline
    if figure is None:
        return []
    change = fig.change_of(figure)
    places = fig.column_places(figure.unit, figure.a, figure.b)
    name = f"{fig.metric_label(figure.metric)} {figure.level}   "
    if figure.a is None or number == 0:
        return [line(name, (fig.level(figure.b, figure.unit), Ink.BOLD), ("   the baseline", Ink.MUTED))]
    pair = f"{fig.number(figure.a, places)} → {fig.number(figure.b, places)} {figure.unit}"
    left = line(name, (pair, Ink.BOLD), (f"   {fig.percent(change.delta)} %", change.ink))
    interval = (f"   {_ci(change)}", Ink.MUTED)
    approval = view.state.approval
    would = ""
    if approval and approval.round == number:
        would = f": the gate would {'keep' if approval.default == 'approve' else 'turn it down'}"
    word = f"{SIGNS[change.reading]} {change.reading.value or 'no interval'}"
    for text in (f"{word}{would}", word):
        if width_of((*left, Span(*interval))) + len(text) + 2 <= width:
            return [spread((*left, Span(*interval)), (Span(text, change.ink),), width)]
    # The interval below its figure: neither is ever cut.
    return [cut(left, width), cut(line((word, change.ink), interval), width)]


def _ci(change: fig.Change) -> str:
    text = fig.interval(change)
    return f"95 % CI {text}" if text else ""


def _gate_lines(measured: ev.Measured, width: int) -> list[Line]:
    blocks = f"{measured.blocks} blocks" if measured.blocks != 1 else "1 block"
    words = f"{blocks} in {fig.took(measured.took_s)}; gate: {measured.outcome}, {in_words(measured.reason)}"
    if measured.provisional:
        words += "; provisional, measured again before the report"
    if measured.checked_twice:
        words += "; checked twice"
    return [line((part, Ink.MUTED)) for part in textwrap.wrap(words, max(20, width))]


def _judge_lines(view: RunView, number: int, width: int) -> list[Line]:
    verdict = view.verdict_of(number)
    if verdict is None:
        return _labelled("judge", Span("has not spoken", Ink.MUTED), "", width)
    passed = sum(step.passed for step in verdict.steps)
    if verdict.passed:
        tests = sum(step.tests for step in verdict.steps)
        words = f"{passed} of {len(verdict.steps)} steps" + (f", {tests} tests" if tests else "")
        if verdict.accuracy_class:
            words += f", class {verdict.accuracy_class}"
        return _labelled("judge", Span(f"{glyphs.OK} PASS   ", Ink.GOOD), words, width)
    word = "FAIL" if verdict.outcome == "fail" else "VOID"
    sign = Span(f"{glyphs.FAILED} {word}   ", Ink.BAD)
    return _labelled("judge", sign, verdict.reason or verdict.first_failure, width)


def _decision_lines(view: RunView, number: int, width: int) -> list[Line]:
    record = view.state.rounds.get(number)
    if record is None:
        return _policy_line(view, number, width)
    by = "" if record.decided_by == "gate" else f" by {record.decided_by}"
    words = f"{record.outcome}{by}"
    sign = Span(f"{glyphs.OUTCOMES[record.outcome]} {words}   ", Ink.BOLD)
    return _labelled("outcome", sign, in_words(record.reason), width)


def _policy_line(view: RunView, number: int, width: int) -> list[Line]:
    """What keeping the round would make of the run as a whole."""
    measured, metric = view.measured_of(number), view.state.headline
    total = view.state.gain(number)
    if metric is None or measured is None or measured.outcome != "accepted" or total is None:
        return []
    change = fig.percent(fig.share_of(total, metric.direction))
    words = f"the new champion, {change} % ({fig.factor(total)}) since r0"
    return _labelled("gate", Span("keep   ", Ink.BOLD), words, width)


def _hypothesis_lines(view: RunView, number: int, width: int) -> list[Line]:
    task = view.task_of(number)
    if task is None or task.hypothesis is None:
        return []
    claim = task.hypothesis
    record = view.state.rounds.get(number)
    named = claim.claim.replace(claim.metric, fig.metric_label(claim.metric)) if claim.metric else claim.claim
    lines = _labelled("claim", Span(""), named, width)
    expected = f"expected {fig.factor(claim.expected_low)} … {fig.factor(claim.expected_high)}"
    outcome = f", {record.hypothesis_outcome.replace('_', ' ')}" if record and record.hypothesis_outcome else ""
    return [*lines, *_labelled("", Span(expected + outcome, Ink.MUTED), "", width)]


def _labelled(label: str, head: Span, words: str, width: int) -> list[Line]:
    """A head and a sentence behind its label; why a round was turned down must be read to its end."""
    indent = " " * width_of((head,))
    rows = textwrap.wrap(words, max(20, width - LABEL_CELLS), initial_indent=indent) or [indent]
    first = (Span(fit(label, LABEL_CELLS), Ink.MUTED), head, Span(rows[0].removeprefix(indent)))
    return [cut(first, width), *(line(" " * LABEL_CELLS, row) for row in rows[1:])]


def draw_judge(view: RunView, number: int, width: int) -> list[Line]:
    """Every step of the battery with what it found, and the evidence behind the choice of the task."""
    verdict, task = view.verdict_of(number), view.task_of(number)
    lines: list[Line] = []
    for step in verdict.steps if verdict else ():
        sign = Span(f"{glyphs.OK} ", Ink.GOOD) if step.passed else Span(f"{glyphs.FAILED} ", Ink.BAD)
        took = Span(fig.took(step.took_ms / 1000), Ink.MUTED)
        lines.append(spread((sign, Span(fit(step.id, 5), Ink.MUTED), Span(step.title)), (took,), width))
        lines += [(Span(" " * 7), *wrapped) for wrapped in draw_markdown(step.detail, width - 7)] if step.detail else []
    if not lines:
        lines.append(line(("The judge has not spoken about this round.", Ink.MUTED)))
    if task and task.why:
        lines += [BLANK, line(("why this task", Ink.BOLD))]
        lines += [
            cut((Span(f"{row.what}  "), Span(row.value, Ink.BOLD), Span(f"  {row.source}", Ink.MUTED)), width)
            for row in task.why
        ]
    return lines
