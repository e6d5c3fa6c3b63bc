"""What the start screen shows: targets, the plan, this machine and past runs, each as lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from vibeserve_tui.client import Liveness, RunSummary
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import BLANK, Ink, Line, Span, cut, fit, line, spread, text_of, width_of
from vibeserve_tui.tui.panes.memory import draw_markdown
from vibeserve_tui.tui.services import Finding, FindingState, PlanForm, TargetEntry

FINDING_SIGNS: dict[FindingState, tuple[str, Ink]] = {
    "ok": (glyphs.OK, Ink.GOOD),
    "attention": (glyphs.ATTENTION, Ink.WARN),
    "missing": (glyphs.MISSING, Ink.BAD),
    "absent": (glyphs.ABSENT, Ink.MUTED),
}
STATUS = {
    Liveness.RUNNING: (glyphs.RUNNING, "running", Ink.ACCENT),
    Liveness.NOT_RESPONDING: (glyphs.ATTENTION, "silent", Ink.WARN),
    Liveness.PAUSED: (glyphs.WAITING, "paused", Ink.WARN),
    Liveness.CRASHED: (glyphs.FAILED, "crashed", Ink.BAD),
    Liveness.FINISHED: (glyphs.KEPT, "done", Ink.GOOD),
    Liveness.FAILED: (glyphs.FAILED, "failed", Ink.BAD),
    Liveness.REPLAY: (glyphs.RUNNING, "replay", Ink.ACCENT),
}
STATE_FROM, NOTE_FROM = 52, 28
ROOM_BELOW = 7
"""Rows that the plan's estimate, command and readiness take below its choices."""
SLOGANS = ("one bespoke LLM server for one model, machine and workload", "one LLM server for one model and machine")
NEW_TARGET = line(("+ new target from a model folder …", Ink.MUTED))
NO_RUNS = "No runs yet. ⏎ runs the target above: no key, no download. ? explains the screen."


def draw_slogan(version: str, width: int) -> Line:
    name = Span(f"vibeserve {version}", Ink.BOLD)
    forms: list[Line] = [(name, Span(f"   {words}", Ink.MUTED)) for words in SLOGANS]
    return next((form for form in forms if width_of(form) <= width), (name,))


def draw_targets(targets: Sequence[TargetEntry], width: int) -> list[Line]:
    """One line a target; what stands in its way comes before what it is."""
    name = max([len(target.name) for target in targets], default=0) + 2
    lines: list[Line] = []
    for target in targets:
        blocked = (f"{glyphs.ATTENTION} {target.blocked}", Ink.WARN) if target.blocked else (target.workload, Ink.PLAIN)
        left = line((fit(target.name, name), Ink.PLAIN if not target.blocked else Ink.MUTED), blocked)
        tail = (Span(target.backend, Ink.MUTED),) if width >= 52 and not target.blocked else ()
        lines.append(spread(left, tail, width) if tail else cut(left, width))
    return lines


def draw_description(target: TargetEntry, width: int) -> list[Line]:
    """The objective as its file says it, without the heading that repeats the name."""
    lines = draw_markdown(target.description or target.title, width)
    while lines and (not lines[0] or text_of(lines[0]).startswith("# ")):
        del lines[0]
    return [BLANK, *lines]


def draw_plan(form: PlanForm, width: int, height: int) -> list[Line]:
    """The choices, then estimate and whether it can start; the command only where there is room."""
    lines = [_choice(choice.name, choice.value, choice.note, bool(choice.options), width) for choice in form.choices]
    estimate = (Span(form.estimate, Ink.MUTED),)
    ready = (Span(readiness(form), Ink.GOOD if form.ready else Ink.BAD),)
    spare = height - len(lines)
    if spare < ROOM_BELOW:  # whether it can start stands in the border then
        return [*lines, *([BLANK] if spare > 1 else []), cut(estimate if form.ready else ready, width)]
    command = textwrap.wrap(form.command, max(20, width - 10), subsequent_indent="  ", break_on_hyphens=False)
    lines += [BLANK, cut((Span(fit("estimate", 10), Ink.MUTED), *estimate), width)]
    lines += [line((fit("same as" if at == 0 else "", 10), Ink.MUTED), part) for at, part in enumerate(command)]
    return [*lines, BLANK, cut(ready, width)]


def readiness(form: PlanForm) -> str:
    return f"{glyphs.OK} {form.ready}" if form.ready else f"{glyphs.FAILED} {form.blocked}"


def _choice(name: str, value: str, note: str, changes: bool, width: int) -> Line:
    mark = "▾ " if changes and width >= 44 else ""
    note = note if width >= NOTE_FROM else ""
    shown = fit(value, 10) if note or mark else value
    return cut(line((fit(name, 9), Ink.MUTED), shown, (f" {mark}{note}", Ink.MUTED)), width)


def draw_machine(findings: Sequence[Finding], width: int, height: int) -> list[Line]:
    """In two columns where the rows do not suffice; fixes only where there is room for them."""
    if not findings:
        return [line(("looking at this machine …", Ink.MUTED))]
    name = max(len(finding.name) for finding in findings) + 1
    if len(findings) > height and width >= 60:
        half = width // 2
        rows = (len(findings) + 1) // 2
        pairs = [(findings[at], findings[at + rows] if at + rows < len(findings) else None) for at in range(rows)]
        return [_pair(left, right, name, half, width) for left, right in pairs]
    lines: list[Line] = []
    with_fixes = sum(1 + bool(finding.fix) for finding in findings) <= height
    for finding in findings:
        lines.append(cut(draw_finding(finding, name), width))
        if finding.fix and with_fixes:
            lines.append(cut(line((" " * (name + 2) + finding.fix, Ink.MUTED)), width))
    return lines


def _pair(left: Finding, right: Finding | None, name: int, half: int, width: int) -> Line:
    first = spread(draw_finding(left, name), (Span(" "),), half)
    return (*first, *cut(draw_finding(right, name), width - half)) if right else first


def draw_finding(finding: Finding, name: int) -> Line:
    sign, ink = FINDING_SIGNS[finding.state]
    return line((f"{sign} ", ink), fit(finding.name, name), (finding.detail, Ink.MUTED))


def draw_doctor(findings: Sequence[Finding], width: int) -> list[Line]:
    """Every finding in full, each with its fix."""
    lines: list[Line] = []
    for finding in findings:
        sign, ink = FINDING_SIGNS[finding.state]
        lines.append(line((f"{sign} ", ink), (finding.name, Ink.BOLD)))
        for text in (finding.detail, f"fix: {finding.fix}" if finding.fix else ""):
            lines += [line(f"  {part}") for part in textwrap.wrap(text, max(20, width - 2))]
        lines.append(BLANK)
    return lines


def draw_runs(runs: Sequence[RunSummary], width: int, now: float) -> list[Line]:
    if not runs:
        return [line((part, Ink.MUTED)) for part in textwrap.wrap(NO_RUNS, max(20, width))]
    name = max(len(run.target) for run in runs) + 2
    return [_run(run, name, width, now) for run in runs]


def _run(run: RunSummary, name: int, width: int, now: float) -> Line:
    sign, word, ink = (
        (glyphs.WAITING, "waiting", Ink.WARN)
        if run.waiting and run.liveness is Liveness.RUNNING
        else STATUS[run.liveness]
    )
    # The sign says what the word says; the word goes first.
    state = f"{fit(word, 8)} " if width >= STATE_FROM else ""
    left = line((f"{sign} ", ink), f"{state}{fit(run.target, name)}{fit(f'r{run.rounds}/{run.max_rounds}', 7)}")
    return spread((*left, *_result(run, width)), (Span(fig.age(now - run.started_wall), Ink.MUTED),), width)


def _result(run: RunSummary, width: int) -> Line:
    if run.fault or run.liveness in (Liveness.FAILED, Liveness.CRASHED):
        return line((run.fault or run.status_reason or "engine gone, r resumes", Ink.MUTED))
    if run.waiting:
        return line("your approval")
    if run.champion is None or run.gain is None:
        return line(("no figures yet", Ink.MUTED))
    level = f"{fig.level(run.champion, run.unit)}  " if width >= 66 else ""
    return line(level, (fig.factor(run.gain), Ink.GOOD if run.gain > 1 else Ink.MUTED))
