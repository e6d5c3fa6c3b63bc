"""What the app asks of the rest of the program, answered: targets, machine, runs, skills, starting, checking.

Each answer may take a while and is asked for from a thread; what computes is a process of its own. What an answer needs
is imported when it is asked for, so that the first screen does not wait for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from vibeserve_tui import __version__, foreign_trees
from vibeserve_tui.client import AttachedClient, RunClient, RunList, RunSummary, open_state, start_engine
from vibeserve_tui.commands import Resume
from vibeserve_tui.errors import EnvironmentFault, InputError, TargetError, VibeServeError, WorkspaceError
from vibeserve_tui.metrics import gain_in_words
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets
from vibeserve_tui.state.run_dir import find_run, lock_holder
from vibeserve_tui.state.workspace import Store
from vibeserve_tui.tui.services import (
    Finding,
    NewTarget,
    PlanForm,
    RunPair,
    SkillEntry,
    TargetCheck,
    TargetEntry,
)
from vibeserve_tui.verbs.plan_form import plan_form, plan_of

if TYPE_CHECKING:
    from vibeserve_tui.backend import Requirement
    from vibeserve_tui.recipes.experience import Experience

EFFECTS_SHOWN = 6
_SELF = [sys.executable, "-m", "vibeserve_tui"]


class AppServices:
    """The app's questions, answered; each may take a while and is asked from a thread."""

    version = __version__

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runs = RunList(root)
        self.crash_dir = platformdirs.user_state_path("vibeserve")

    def targets(self) -> Sequence[TargetEntry]:
        from vibeserve_tui.inputs.own_targets import own_targets

        return [self._target(name, folder) for name, folder in (shipped_targets() | own_targets()).items()]

    def _target(self, name: str, folder: Path) -> TargetEntry:
        from vibeserve_tui.backend import discover
        from vibeserve_tui.inputs.own_targets import weights_of
        from vibeserve_tui.inputs.target import read_definition
        from vibeserve_tui.inputs.toml_files import read_text

        try:
            spec, objective = read_definition(folder), read_text(folder / "OBJECTIVE.md", TargetError)
        except VibeServeError as error:
            return TargetEntry(name, folder, "cannot be read", blocked=str(error))
        usable = {n for n, f in discover().items() if f.backend and f.backend.availability(None).usable}
        blocked = "" if usable & set(spec.backends) else f"needs {' or '.join(spec.backends)}"
        if not blocked and spec.model.source == "local" and weights_of(folder) is None:
            blocked = "its weights are not here"
        levels = ", ".join(level.id for level in spec.levels)
        return TargetEntry(
            name,
            folder,
            spec.title,
            description=objective,
            workload=f"{spec.workload.kind.value} at {levels}",
            backend=" ".join(spec.backends),
            blocked=blocked,
        )

    def doctor(self) -> Sequence[Finding]:
        from vibeserve_tui.doctor import examine

        return [_finding(requirement) for requirement in examine(self._root)]

    def runs(self) -> Sequence[RunSummary]:
        return self._runs.read()

    def skills(self) -> Sequence[SkillEntry]:
        from vibeserve_tui.inputs.own_skills import skills_folders
        from vibeserve_tui.inputs.skills import SkillLibrary
        from vibeserve_tui.recipes.experience import ExperienceStore
        from vibeserve_tui.recipes.recipe import RecipeBook

        shipped, library = shipped_folder(Shipped.SKILLS), SkillLibrary.load(skills_folders())
        book, records = RecipeBook.load(library), ExperienceStore.of_this_user().read().records
        entries = []
        for skill in library.values():
            recipe = book.get(skill.name)
            own = [record for record in records if record.recipe == skill.name]
            entries.append(
                SkillEntry(
                    name=skill.name,
                    title=recipe.spec.title if recipe else skill.description,
                    backends=tuple(skill.tags.backends),
                    has_recipe=recipe is not None,
                    applies=", ".join(str(c) for c in recipe.spec.requires.conditions()) if recipe else "",
                    expected=recipe.spec.prior.source if recipe else "",
                    history=_history(own),
                    source="shipped" if skill.folder.is_relative_to(shipped) else "your own",
                    path=skill.path,
                    text=skill.path.read_text("utf-8", "replace"),
                )
            )
        return entries

    def plan(self, target: str, changes: dict[str, str]) -> PlanForm:
        return plan_form(target, changes, self.runs(), self._root)

    def start(self, form: PlanForm) -> RunClient:
        from vibeserve_tui.starting import create_run, launch, require_answers

        plan = plan_of(form.target, form.changes)
        require_answers(plan)
        directory = create_run(plan, self._root)
        launch(directory)
        return AttachedClient(directory)

    def attach(self, run: str) -> RunClient:
        return AttachedClient(find_run(run, self._root))

    def resume(self, run: str) -> None:
        directory = find_run(run, self._root)
        if lock_holder(directory) is None:
            start_engine(directory)
        else:  # its engine waits, or somebody has brought one back meanwhile
            directory.post(Resume())

    def delete(self, run: str) -> None:
        directory = find_run(run, self._root)
        if lock_holder(directory) is not None:
            raise InputError("an engine works on this run", where=directory.name, fix="stop it first")
        try:
            foreign_trees.remove(directory.path)  # it holds what agents and their programs left behind
        except OSError as error:
            raise EnvironmentFault(f"cannot be removed: {error.strerror}", where=str(directory.path)) from error

    def compare_runs(self, a: str, b: str) -> RunPair:
        first, second = (find_run(name, self._root) for name in (a, b))
        mine, theirs = open_state(first), open_state(second)
        try:
            older, newer = mine.champion_commit, theirs.champion_commit
            diff = Store(first.store).diff(older, newer, beside=second.store) if older and newer else ""
        except WorkspaceError as error:
            return RunPair(mine, theirs, why_no_diff=str(error))
        return RunPair(mine, theirs, diff)

    def measure_runs(self, a: str, b: str) -> RunClient:
        from vibeserve_tui.starting import create_run, launch
        from vibeserve_tui.verbs.compare import comparison

        order = comparison(find_run(a, self._root), find_run(b, self._root))
        directory = create_run(order, self._root)
        launch(directory)
        return AttachedClient(directory)

    def ask(self, run: str, question: str) -> str:
        name = find_run(run, self._root).name
        return _told([*_SELF, "ask", "--runs-dir", str(self._root), "--", name, question])

    def look_at_model(self, folder: Path) -> str:
        from vibeserve_tui.inputs.model_folder import has_chat_template, read_model_shape

        shape = read_model_shape(folder)
        size = f"{shape.parameters / 1e9:.1f} G" if shape.parameters >= 1e9 else f"{shape.parameters / 1e6:.1f} M"
        kind = "with a chat template" if has_chat_template(folder) else "no chat template: plain text"
        return (
            f"{shape.architecture} · {size} parameters · {shape.layers} layers of {shape.hidden} · "
            f"context {shape.max_context} · {kind}"
        )

    def new_target(self, wanted: NewTarget) -> TargetEntry:
        from vibeserve_tui.inputs.own_targets import make_target
        from vibeserve_tui.inputs.scaffold import Traffic

        traffic = Traffic(wanted.clients, wanted.longest_prompt, wanted.answers)
        target = make_target(wanted.name, wanted.model, traffic=traffic)
        return self._target(target.spec.name, target.root)

    def check_target(self, entry: TargetEntry) -> TargetCheck:
        from vibeserve_tui.inputs.own_targets import weights_of

        weights = weights_of(entry.path)
        model = ["--model", str(weights)] if weights else []
        return CheckProcess([*_SELF, "target", "check", str(entry.path), *model])


def _history(own: Sequence[Experience]) -> str:
    """How often a recipe was tried here, and what it brought the last times."""
    if not own:
        return "never tried by you"
    kept = sum(record.outcome == "kept" for record in own)
    lines = [f"kept {kept} of {len(own)} times"]
    for record in reversed(own[-EFFECTS_SHOWN:]):
        effect = gain_in_words(record.ratio, record.ci_low, record.ci_high) or "not measured"
        lines.append(f"- {effect} {record.outcome}, round {record.round} of {record.run}")
    return "\n".join(lines)


class CheckProcess:
    """`target check` in a process of its own: it starts servers and computes, which the app must never do."""

    def __init__(self, command: list[str]) -> None:
        self.passed = False
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        with self._process.stdout as words:
            for row in words:
                yield row.rstrip()
        self.passed = self._process.wait() == 0

    def stop(self) -> None:
        """End it and what it started; its launcher takes the servers down once it is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)


def _told(command: list[str]) -> str:
    """What a verb prints; raises its own last line when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it failed without a word"]
        raise VibeServeError(lines[-1].removeprefix("vibeserve: "))
    return done.stdout


def _finding(requirement: Requirement) -> Finding:
    if requirement.ok:
        return Finding(requirement.id, "ok", requirement.observed)
    state = {"required": "missing", "recommended": "attention", "info": "absent"}[requirement.severity]
    return Finding(requirement.id, state, requirement.observed, requirement.fix)  # type: ignore[arg-type]
