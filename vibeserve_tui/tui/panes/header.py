"""The two lines that always answer: which target, which phase since when, before → after, how far, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vibeserve_tui import events as ev
from vibeserve_tui.client import Liveness
from vibeserve_tui.run_state import RunState, Status
from vibeserve_tui.tui import figures as fig
from vibeserve_tui.tui import glyphs
from vibeserve_tui.tui.ink import Ink, Line, Span, cut, line, spread, width_of
from vibeserve_tui.tui.view import PHASE_WORDS, RunView
from vibeserve_tui.tui.widgets.line_view import LineView


def draw_header(view: RunView, width: int) -> list[Line]:
    """Left is what, right is state; the longest form that fits wins. What asks for a person is the last to be cut."""
    alarm = bool(_alarm(view))
    urgent = alarm or view.is_paused or view.state.approval is not None
    return [
        _fitting(_what(view)[-2 if alarm else 0 :], _progress(view), width, right_first=urgent),
        _fitting(_result(view), _budget(view), width),
    ]


def _fitting(lefts: Sequence[Line], rights: Sequence[Line], width: int, *, right_first: bool = False) -> Line:
    """The pair that fits with three cells between and shortens neither side much more than the other."""

    def shortened(pair: tuple[int, int]) -> tuple[float, float]:
        left, right_side = pair
        if right_first:
            return right_side, left
        return max(left / max(1, len(lefts) - 1), right_side / max(1, len(rights) - 1)), left + right_side

    pairs = [(left, right_side) for left in range(len(lefts)) for right_side in range(len(rights))]
    for left, right_side in sorted(pairs, key=shortened):
        if width_of(lefts[left]) + width_of(rights[right_side]) + 3 <= width:
            return spread(lefts[left], rights[right_side], width)
    return spread(lefts[-1], cut(rights[-1], max(0, width - 12)), width)


def _what(view: RunView) -> list[Line]:
    plan = view.state.plan
    if plan is None:
        return [line(("vibeserve", Ink.BOLD))]
    name = (plan.target, Ink.BOLD)
    agents = ", ".join(sorted(set(plan.agents.values()))) or "playbook"
    ask = {"each-round": "ask each round", "on-regression": "ask on regression"}.get(
        view.state.approval_mode, "auto-approve"
    )
    short = f"   {plan.backend} · {agents}"
    long = f"{short} · {plan.policy} policy · {ask}"
    return [
        line(name, (f"{long}   run {view.state.run}", Ink.MUTED)),
        line(name, (long, Ink.MUTED)),
        line(name, (f"{short} · {ask}", Ink.MUTED)),
        line(name, (short, Ink.MUTED)),
        line(name),
    ]


def _progress(view: RunView) -> list[Line]:
    state = view.state
    if alarm := _alarm(view):
        return alarm
    since = (fig.clock(view.now - state.phase_since), Ink.PLAIN)
    if state.approval:
        waited = fig.clock(view.now - state.phase_since)
        words = f"round {state.approval.round} waits for you"
        sign = (f"{glyphs.WAITING} ", Ink.WARN)
        return [
            line(sign, (f"{words}, a opens it", Ink.BOLD), f"   {waited}"),
            line(sign, (words, Ink.BOLD), f"  {waited}"),
        ]
    if state.status is Status.PAUSED:
        sign = (f"{glyphs.WAITING} paused", Ink.WARN)
        why = state.status_reason
        reason = why.removeprefix("paused") if why.startswith("paused ") else f" · {why}"
        return [
            line(sign, f"{reason} · space resumes"),
            line(sign, reason),
            line(sign, ", space resumes"),
        ]
    sign = (f"{glyphs.RUNNING} ", Ink.ACCENT)
    phase = PHASE_WORDS[state.phase]
    number = (
        state.phase_round if state.phase_round is not None else (state.in_flight.number if state.in_flight else None)
    )
    here = "" if number is None else f"round {number}{_of_all(state, ' of ')} · "
    tight = "" if number is None else f"round {number}{_of_all(state, '/')} · "
    detail = state.progress.detail if state.progress else state.phase_detail
    step = f", {detail}" if detail else ""
    short = detail.replace(" of ", "/")
    return [
        line(sign, f"{here}{phase}{step}   ", since),
        line(sign, f"{tight}{phase} {short}  ", since),
        line(sign, f"{tight}{phase}  ", since),
        line(sign, f"{phase}  ", since),
    ]


def _of_all(state: RunState, of: str) -> str:
    """Of how many rounds it is one; nothing where an ablation is added to those that were planned."""
    is_added = state.in_flight is not None and state.in_flight.task.kind == "ablation"
    return "" if is_added else f"{of}{state.max_rounds}"


def _alarm(view: RunView) -> list[Line]:
    """What is not running normally: over, crashed, silent."""
    state = view.state
    reason = f" · {state.status_reason}" if state.status_reason else ""
    match view.liveness:
        case _ if view.fault:
            return [
                line((f"{glyphs.FAILED} the journal cannot be read", Ink.BAD), f" · {view.fault}"),
                line((f"{glyphs.FAILED} the journal cannot be read", Ink.BAD)),
            ]
        case _ if state.status is Status.FINISHED:
            took = fig.clock((state.finished_wall or view.now) - state.started_wall)
            done = (f"{glyphs.DONE} finished", Ink.GOOD)
            return [line(done, f"{reason}   ", (took, Ink.MUTED)), line(done, reason), line(done)]
        case _ if state.status is Status.FAILED:
            return [line((f"{glyphs.FAILED} failed", Ink.BAD), reason), line((f"{glyphs.FAILED} failed", Ink.BAD))]
        case Liveness.CRASHED:
            return [
                line((f"{glyphs.FAILED} engine crashed", Ink.BAD), " · space resumes the run"),
                line((f"{glyphs.FAILED} crashed", Ink.BAD), " · space resumes"),
            ]
        case Liveness.NOT_RESPONDING:
            silent = fig.clock(view.now - state.ts_wall)
            return [line((f"{glyphs.ATTENTION} engine not responding", Ink.WARN), f"   {silent}")]
        case _:
            return []


def _result(view: RunView) -> list[Line]:
    """How much better than the seed; the only bold figures on the screen."""
    state, metric = view.state, view.state.headline
    if metric is None:
        return [line(("waiting for the first record of the run", Ink.MUTED))]
    name = f"{fig.metric_label(metric.name)} {metric.level}   "
    first, now = state.level_of(0), state.level_of(state.champion)
    if first is None:
        return [
            line(name, ("no figure yet: round 0 measures the target's own seed server", Ink.MUTED)),
            line(name, fig.UNKNOWN),
        ]
    if state.champion == 0 or now is None:
        return [line(name, (fig.level(first, metric.unit), Ink.BOLD), ("   the baseline", Ink.MUTED))]
    figure = state.confirmed_headline
    if figure is not None and figure.a is not None and figure.b is not None:
        return _measured_together(view, figure, name)
    return _by_rounds(view, (first, now), metric, name)


def _measured_together(view: RunView, figure: ev.Figure, name: str) -> list[Line]:
    """Seed and champion beside one another at the end of the run: the figures to quote."""
    places = fig.column_places(figure.unit, figure.a, figure.b)
    pair = (f"{fig.number(figure.a, places)} → {fig.number(figure.b, places)} {figure.unit}", Ink.BOLD)
    gain = _gain(view, figure.direction)
    sure = ("   confirmed", Ink.GOOD)
    return [
        line(name, pair, "   ", *gain, (f" since r0   champion r{view.state.champion}", Ink.MUTED), sure),
        line(name, pair, "   ", *gain, sure),
        line(name, pair, "   ", *gain),
        line(pair, "  ", *gain[-1:]),
    ]


def _by_rounds(view: RunView, levels: tuple[float, float], metric: ev.MetricRef, name: str) -> list[Line]:
    """The product of what each round gained on the champion of its time, beside the champion's own last figure.

    The seed's figure is of another hour: it stands apart, and nothing is computed from the two.
    """
    first, now = (fig.level(value, metric.unit) for value in levels)
    gain = _gain(view, metric.direction)
    return [
        line(name, *gain, (" since r0", Ink.MUTED), "   ", (now, Ink.BOLD),
             (f" when measured, r0 {first}   champion r{view.state.champion}", Ink.MUTED)),
        line(name, *gain, (" since r0", Ink.MUTED), "   ", (now, Ink.BOLD), (f", r0 {first}", Ink.MUTED)),
        line(name, *gain, (" since r0", Ink.MUTED), "   ", (now, Ink.BOLD)),
        line(f"{name.partition(' ')[0]}  ", *gain[-1:], (" since r0", Ink.MUTED), "  ", (now, Ink.BOLD)),
        line(*gain[-1:], "  ", (now, Ink.BOLD)),
    ]  # fmt: skip


def _gain(view: RunView, direction: Literal["max", "min"]) -> Line:
    """`+446.0 %   ×5.5`; a round that was kept without a measurement leaves it open."""
    total = view.state.total_gain
    if total is None:
        return line(("gain unknown", Ink.MUTED))
    ink = Ink.GOOD if total > 1 else Ink.BAD if total < 1 else Ink.MUTED
    return line(
        (f"{fig.percent(fig.share_of(total, direction))} %   ", ink),
        (fig.factor(total), Ink.GOOD_BOLD if total > 1 else Ink.BOLD),
    )


def _budget(view: RunView) -> list[Line]:
    state = view.state
    if state.plan is None:
        return [()]
    cap = "" if state.max_usd is None else f" of {fig.money(state.max_usd)}"
    cost = f"{fig.tokens(state.tokens)} tok   {fig.cost(state.spend)}{cap}"
    limit = state.max_minutes * 60
    used = f"{fig.clock(state.active_s)} of {fig.clock(limit)}"
    if view.replay:
        playing = (f"replay {view.replay}", Ink.ACCENT)
        return [line(playing, (f"   {used}   {cost}", Ink.MUTED)), line(playing)]
    if state.is_over or view.liveness is Liveness.CRASHED:
        return [line((f"{state.rounds_played} rounds   {used}   {cost}", Ink.MUTED)), line((cost, Ink.MUTED))]
    eta = f"ETA {fig.roughly(view.eta_s())}"
    share = min(1.0, state.active_s / limit) if limit else 0.0
    quiet = ("   quiet mode", Ink.MUTED) if view.is_measuring else ""
    return [
        line(*_meter(share, 32), f"  {used}   {eta}   {cost}", quiet),
        line(*_meter(share, 16), f"  {eta}   {cost}"),
        line(f"{eta} · {cost.replace('   ', ' · ')}"),
        line(eta),
    ]


def window_title(view: RunView) -> str:
    """The run in a few words, for the terminal's own title and its list of windows."""
    state = view.state
    target = state.plan.target if state.plan else state.run
    total = fig.factor(state.total_gain) if state.champion else ""
    if view.fault:
        return f"{glyphs.FAILED} {target}: the journal cannot be read"
    if state.approval and view.liveness is Liveness.RUNNING:
        return f"{glyphs.WAITING} {target}: round {state.approval.round} waits for you"
    sign, words = {
        Liveness.FINISHED: (glyphs.DONE, "finished"),
        Liveness.FAILED: (glyphs.FAILED, "failed"),
        Liveness.CRASHED: (glyphs.FAILED, "engine crashed"),
        Liveness.NOT_RESPONDING: (glyphs.ATTENTION, "engine not responding"),
        Liveness.PAUSED: (glyphs.WAITING, "paused"),
        Liveness.REPLAY: (glyphs.RUNNING, "replay"),
        Liveness.RUNNING: (glyphs.RUNNING, PHASE_WORDS[state.phase]),
    }[view.liveness]
    place = "" if state.phase_round is None else f" r{state.phase_round}{_of_all(state, '/')}"
    return f"{sign} {target}{place} {words} {total}".rstrip()


def _meter(share: float, cells: int) -> tuple[Span, Span]:
    done = round(share * cells)
    return Span(glyphs.PROGRESS * done, Ink.ACCENT), Span(glyphs.REMAINING * (cells - done), Ink.MUTED)


class Header(LineView, can_focus=False):
    """Two lines above the panes."""

    def show(self, view: RunView) -> None:
        self.set_lines(draw_header(view, self.text_width))
