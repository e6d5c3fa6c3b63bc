"""The outer loop: measure the seed, then plan, play, decide and learn, until there is a reason to stop.

`python -m vibeserve_tui.engine RUN_DIR` is the engine process of one run. It reads its order from the run directory,
writes everything it does into the journal before relying on it, and can be killed at any moment: started again, it goes
on with the step that was in flight. It never draws and never asks on a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from vibeserve_tui import events as ev
from vibeserve_tui.assembly import open_workshop
from vibeserve_tui.bookkeeping import ablation_of, baseline_of, commit_seed, first_task, given_up, mark_round
from vibeserve_tui.errors import (
    AgentsHalted,
    EnvironmentFault,
    InputError,
    MeasurementError,
    RunPaused,
    StateDamaged,
    VibeServeError,
)
from vibeserve_tui.execution import syscalls
from vibeserve_tui.execution.ladder import LADDER, Tier
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.keys import find_key
from vibeserve_tui.policies import Policy
from vibeserve_tui.recipes.ablation import variants
from vibeserve_tui.roles.briefing import made_of_recipes
from vibeserve_tui.round import Work, play_round
from vibeserve_tui.run_state import Status
from vibeserve_tui.state import durable, place, redaction
from vibeserve_tui.state.pace import too_late
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import forget_git_variables
from vibeserve_tui.steering import Desk, StepCancelled
from vibeserve_tui.workshop import Workshop


async def synthesize(shop: Workshop, policy: Policy, desk: Desk) -> None:
    """From a seed server to a proved, faster one. This is the whole story; every verb in it is a function below."""
    await measure_baseline(shop)
    reason = await search(shop, policy, desk)
    if not desk.wishes.stop_now:
        await simplify(shop, policy, desk)
        await conclude(shop, desk)
    shop.run.emit(ev.RunFinished(reason=reason, champion=shop.run.state.champion))


async def measure_baseline(shop: Workshop) -> None:
    """Round 0: the seed is judged and measured like any other candidate; its noise against itself sets the floor."""
    run = shop.run
    if run.state.baseline is not None:
        return
    task = first_task(run)
    if run.state.in_flight is None:
        run.emit(ev.PhaseStarted(phase=ev.Phase.BASELINE, round=0, detail=task.title))
        run.emit(ev.RoundPlanned(number=0, task=task), ev.AttemptStarted(round=0, attempt=1))
    here = run.state.in_flight
    assert here is not None
    if here.committed is None:
        run.emit(await asyncio.to_thread(commit_seed, run, shop.seed))
    assert here.committed is not None
    if here.verdict is None:
        run.emit(ev.PhaseStarted(phase=ev.Phase.JUDGE, round=0, detail=task.title))
        verdict = await shop.judge.judge(Work(0, 1, task, here.committed.commit), here.committed.commit)
        run.emit(ev.AttemptJudged(round=0, attempt=1, verdict=verdict))
        if not verdict.passed:
            raise MeasurementError(f"{task.title} fails the judge: {verdict.reason}", fix="vibeserve target check")
    run.emit(ev.PhaseStarted(phase=ev.Phase.MEASURE, round=0, detail="the seed against itself"))
    measured = await shop.evaluator.baseline(here.committed.commit)
    record = baseline_of(run, here.committed, measured)
    mark_round(run.store, record)
    run.emit(
        ev.MeasurementFinished(round=0, measured=measured, purpose="baseline"),
        ev.RoundFinished(record=record),
        ev.ChampionMoved(round=0, commit=record.commit),
    )


async def search(shop: Workshop, policy: Policy, desk: Desk) -> str:
    """Rounds, one after the other, until a stop rule, the policy or the operator ends them; returns the reason."""
    await catch_up(shop)
    while True:
        try:
            if reason := await next_round(shop, policy, desk):
                return reason
        except AgentsHalted as halt:
            await desk.hold(halt)


async def next_round(shop: Workshop, policy: Policy, desk: Desk) -> str:
    """The round in flight, or else a new one; or the reason why there is none."""
    run = shop.run
    await between_rounds(shop, desk)
    task = run.state.in_flight.task if run.state.in_flight else None
    if task is None and (reason := reason_to_stop(shop, desk)):
        return reason
    if task is None:
        run.emit(ev.PhaseStarted(phase=ev.Phase.PLAN))
        planning = policy.plan(rounds_left=run.state.rounds_left, seconds_left=shop.seconds_left())
        try:
            planned = await desk.interruptible(planning)
        except StepCancelled:
            return ""  # what was wished meanwhile comes first; if the run goes on, so does planning
        if isinstance(planned, str):
            return planned
        task = planned
    await one_round(shop, policy, desk, task)
    if confirmation_is_due(shop):
        with contextlib.suppress(StepCancelled):
            await desk.interruptible(confirm(shop))
    return ""


async def between_rounds(shop: Workshop, desk: Desk) -> None:
    """Before anything new begins: is there still a place for it, and what does the operator want first?"""
    shop.run.require_same_folder()
    place.require_room(shop.run.dir)
    await desk.boundary()
    await measure_again(shop, desk)


async def measure_again(shop: Workshop, desk: Desk) -> None:
    """The pairs of rounds that the operator wants beside one another once more."""
    state = shop.run.state
    while state.again_wished and state.in_flight is None and not desk.wishes.stop_now:
        a, b = state.again_wished[0]
        shop.run.emit(ev.PhaseStarted(phase=ev.Phase.MEASURE, detail=f"r{a} and r{b} once more, for the operator"))
        try:
            measured = await desk.interruptible(shop.evaluator.again(a, b))
        except StepCancelled:
            measured = ev.Measured(outcome="void", reason="given up by the operator", blocks=0)
        shop.run.emit(ev.MeasuredAgain(a=a, b=b, measured=measured))


async def catch_up(shop: Workshop) -> None:
    """What a crash may have cut off behind the last round's record, where it is worth having."""
    state = shop.run.state
    shop.remember(state.rounds[max(state.rounds)])
    if state.champion and state.champion not in state.profiles:
        await shop.evaluator.profile(state.champion, state.champion_commit)


async def one_round(shop: Workshop, policy: Policy, desk: Desk, task: ev.TaskPlan) -> ev.RoundRecord:
    """Play one task to its end, however it ends, and record what became of it."""
    run = shop.run
    if run.state.in_flight is None:
        run.emit(ev.RoundPlanned(number=max(run.state.rounds) + 1, task=task))
    here = run.state.in_flight
    assert here is not None
    attempts = 1 if task.skill else shop.profile.attempts
    if here.given_up:  # and then the engine was killed
        record = given_up(here)
    else:
        try:
            record = await desk.interruptible(play_round(run, shop.crew(desk), here.number, task, attempts=attempts))
        except StepCancelled:
            record = given_up(here)
    record = policy.fate(record)
    await asyncio.to_thread(mark_round, run.store, record)
    moved = [ev.ChampionMoved(round=record.number, commit=record.commit)] if record.outcome is ev.Outcome.KEPT else []
    ablated = [ablation_of(record)] if task.kind == "ablation" else []
    lessons = policy.lessons(record)
    run.emit(ev.RoundFinished(record=record), *moved, *ablated, *lessons)
    shop.remember(record)
    if moved:
        await shop.evaluator.profile(record.number, record.commit)
    return record


def reason_to_stop(shop: Workshop, desk: Desk) -> str:
    """The first stop rule that holds, in words; "" when the search may go on."""
    state = shop.run.state
    if desk.wishes.stop:
        return "stopped by the operator"
    if not state.rounds_left:
        return f"all {state.max_rounds} rounds are played" if state.max_rounds != 1 else "its one round is played"
    if shop.seconds_left() <= 0:
        return f"the {state.max_minutes:g} minutes are used up, but for the final confirmation"
    played = [state.rounds[number] for number in sorted(state.rounds) if number]
    plateau = shop.profile.plateau
    if plateau and len(played) >= plateau and all(r.outcome is not ev.Outcome.KEPT for r in played[-plateau:]):
        return f"a plateau: the last {plateau} rounds brought nothing"
    goal = shop.target.spec.goal_speedup
    if goal and shop.speedup_so_far() >= goal:
        return f"the goal of ×{goal:g} is reached"
    return ""


def confirmation_is_due(shop: Workshop) -> bool:
    """Every so many kept rounds, if the profile says so: fifty candidates are fifty tests, and one may win by luck."""
    kept = sum(1 for number, record in shop.run.state.rounds.items() if number and record.outcome is ev.Outcome.KEPT)
    every = shop.profile.confirmation.every
    asked = any(one.champion == shop.run.state.champion for one in shop.run.state.confirmed)
    return bool(every and kept) and kept % every == 0 and not asked


async def simplify(shop: Workshop, policy: Policy, desk: Desk) -> None:
    """Backward ablation: leave out each kept recipe once; what is not measurably slower without it stays out."""
    run = shop.run
    if not made_of_recipes(run.state):
        return  # a variant is built from the seed, which would leave out what an agent wrote as well
    tried = {
        name for record in run.state.rounds.values() for name in record.task.dropped if record.task.kind == "ablation"
    }
    while True:
        await between_rounds(shop, desk)
        if desk.wishes.stop or too_late(run.state, shop.seconds_left()):
            return
        left = [v for v in variants(shop.book, shop.situation()) if v.dropped not in tried and v.recipes]
        if not left:
            return
        tried.add(left[0].dropped)
        task = ev.TaskPlan(
            title=f"without {left[0].dropped}",
            kind="ablation",
            parent=run.state.champion,
            rebuild=tuple(ev.RecipeChoice(skill=c.recipe, params=dict(c.params)) for c in left[0].recipes),
            dropped=(left[0].dropped,),
        )
        run.emit(ev.PhaseStarted(phase=ev.Phase.ABLATE, detail=task.title))
        await one_round(shop, policy, desk, task)


async def conclude(shop: Workshop, desk: Desk) -> None:
    """Confirm the champion that the run ends with; once more where the operator chooses another one meanwhile."""
    state = shop.run.state
    while not desk.wishes.stop_now:
        with contextlib.suppress(StepCancelled):
            await desk.interruptible(confirm(shop))
        if state.revert_wished is None and not state.again_wished:
            return
        await between_rounds(shop, desk)


async def confirm(shop: Workshop) -> None:
    """Champion against the original baseline, all levels, on a new seed: the only figures that may be quoted.

    It also has to be better than the champion that was confirmed last: many small steps may be one large coincidence.
    """
    run = shop.run
    if run.state.champion == 0 or run.state.confirmed_headline is not None:
        return
    before = next((one for one in reversed(run.state.confirmed) if not one.doubt), None)
    run.emit(ev.PhaseStarted(phase=ev.Phase.CONFIRM, detail=f"round {run.state.champion} against the seed"))
    confirmed = await shop.evaluator.confirm(
        run.state.champion_commit, run.state.rounds[0].commit, certain=shop.speedup_so_far()
    )
    facts: list[ev.Event] = [confirmed]
    if confirmed.doubt:
        text = f"round {run.state.champion} stays the champion and is not confirmed against the seed: {confirmed.doubt}"
        facts.append(
            ev.Warned(text=f"{text} (fix: vibeserve revert {run.dir.name} --to ROUND, or export it by --round)")
        )
    elif not _is_better(confirmed.figures):
        facts.append(ev.Warned(text="the gain was not confirmed against the seed: the seed is the champion again"))
        facts.append(ev.ChampionMoved(round=0, commit=run.state.rounds[0].commit, reason="not confirmed"))
    elif before is not None and _is_better(before.figures):
        facts += await confirm_since(shop, before.champion)
    run.emit(*facts)


async def confirm_since(shop: Workshop, before: int) -> list[ev.Event]:
    """Champion against the one confirmed last; to go back where nothing was gained since is the operator's to say."""
    state = shop.run.state
    done = await shop.evaluator.confirm_since(before)
    if done.measured.outcome == "accepted":
        return [done]
    what = f"round {state.champion} was not confirmed to be faster than round {before}, which was confirmed before"
    return [done, ev.Warned(text=f"{what} (fix: vibeserve revert {shop.run.dir.name} --to {before})")]


def _is_better(figures: Sequence[ev.Figure]) -> bool:
    headline = next((figure for figure in figures if figure.headline), None)
    return headline is not None and headline.ci_low is not None and headline.ci_low > 1


# ---- the process --------------------------------------------------------------------------------------------------


async def work(run: Run, order: ev.RunPlan, launcher: Launcher) -> int:
    """Work on the run until it ends, is paused or is interrupted; returns the exit code."""
    try:
        await _with_a_desk(run, order, launcher)
        return 0
    except asyncio.CancelledError:
        run.pause("interrupted; nothing recorded is lost", by="signal")
        return 0 if run.state.is_over else RunPaused.exit_code
    except RunPaused as pause:
        run.pause(str(pause))
        print(f"vibeserve: {pause}", file=sys.stderr)
        return pause.exit_code
    except EnvironmentFault as fault:
        if run.state.plan is None:
            run.emit(ev.RunFailed(reason=str(fault)))
        run.pause(str(fault))  # what this machine lacks today it may have tomorrow
        print(f"vibeserve: {fault}", file=sys.stderr)
        return fault.exit_code
    except StateDamaged:
        raise
    except VibeServeError as error:
        run.emit(ev.RunFailed(reason=str(error)))
        print(f"vibeserve: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        run.emit(ev.RunFailed(reason=f"{type(error).__name__}: {error}", detail=traceback.format_exc()))
        raise
    finally:
        with contextlib.suppress(Exception):
            await launcher.close()


async def _with_a_desk(run: Run, order: ev.RunPlan, launcher: Launcher) -> None:
    main_task = asyncio.current_task()
    assert main_task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, main_task.cancel)
    watching: asyncio.Task[None] | None = None
    try:
        async with open_workshop(run, order, launcher) as shop:
            desk = Desk(run, approval_timeout_s=None if order.asks else shop.approval_timeout_s)
            desk.scan()  # a raised budget must be known before anything is spent
            watching = asyncio.create_task(desk.watch())
            watching.add_done_callback(lambda task: _fail_with(task, main_task))
            await synthesize(shop, shop.policy(), desk)
            desk.turn_away()
    except asyncio.CancelledError:
        if watching is not None and watching.done() and not watching.cancelled():
            raise watching.exception() or RuntimeError("the inbox is not watched any more") from None
        raise
    except OSError as error:
        raise durable.fault_of(error, run.dir.path) or error from error
    finally:
        if watching is not None:
            watching.cancel()


def _fail_with(task: asyncio.Task[None], main_task: asyncio.Task[object]) -> None:
    """A desk that died must end the engine: a run that cannot hear its operator is out of control."""
    if not task.cancelled() and task.exception() is not None:
        main_task.cancel()


def begin(run: Run) -> None:
    """Say that work goes on, if it went on before, and bring up to date what a crash may have left behind."""
    if run.state.status is not Status.NEW:
        run.emit(ev.RunResumed(after_crash=run.state.status is Status.RUNNING))
        if run.cut_bytes:
            run.emit(ev.Warned(text=f"{run.cut_bytes} bytes of an unfinished record were cut off the journal"))
    run.take_hand_edit()
    run.write_views()


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m vibeserve_tui.engine RUN_DIR", file=sys.stderr)
        return 2
    directory = RunDir(Path(arguments[0]).resolve())
    keep_to_itself()
    try:
        return own(directory, read_order(directory))
    except VibeServeError as error:
        print(f"vibeserve: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        fault = durable.fault_of(error, directory.path)
        if fault is None:
            raise
        print(f"vibeserve: {fault}", file=sys.stderr)
        return fault.exit_code


def keep_to_itself() -> None:
    """Nothing of this process gets out: no core file, no file for others to read, no secret in what it prints."""
    forget_git_variables()
    if sys.platform == "linux":
        # Its first environment holds the keys and stays readable in /proc, whatever is deleted from os.environ.
        syscalls.set_dumpable(False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    redaction.protect_environment(os.environ)
    sys.stdout, sys.stderr = map(redaction.RedactingStream.around, (sys.stdout, sys.stderr))


def read_order(directory: RunDir) -> ev.RunPlan:
    try:
        return ev.RunPlan.model_validate_json(directory.order.read_bytes())
    except (OSError, ValidationError) as error:
        what = f"the run's order cannot be read: {error}".splitlines()[0]
        raise InputError(what, where=str(directory.order)) from error


def own(directory: RunDir, order: ev.RunPlan) -> int:
    """Hold the run's lock for as long as it is worked on; returns the exit code."""
    for voice in order.voices.values():
        if voice.api_key_env:
            redaction.protect(find_key(voice.api_key_env) or "")
    place.require_local(directory)
    with directory.owned() as lock, contextlib.ExitStack() as given_up:
        place.keep_reserve(directory)
        given_up.callback(place.give_up_reserve, directory)
        tiers = (*LADDER, Tier.NONE) if order.allow_no_sandbox else LADDER
        launcher = Launcher.start(directory.name, tiers=tiers)
        with contextlib.closing(Run(directory, lock)) as run:
            if run.state.is_over:
                return 0
            begin(run)
            return asyncio.run(work(run, order, launcher))


if __name__ == "__main__":
    sys.exit(main())
