"""The app, and what it asks of the rest of the program; only here do the command line and Textual meet."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from vibeserve_tui import __version__
from vibeserve_tui.backend import Requirement, discover
from vibeserve_tui.client import AttachedClient, RunClient, RunSummary, list_runs, start_engine
from vibeserve_tui.doctor import examine
from vibeserve_tui.errors import InputError, VibeServeError
from vibeserve_tui.inputs.config import load_config, user_config_file
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import read_definition
from vibeserve_tui.recipes.experience import ExperienceStore
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_profiles, shipped_targets
from vibeserve_tui.starting import Wanted, create_run, launch, plan_run, providers
from vibeserve_tui.state.run_dir import RunDir, find_run, runs_root
from vibeserve_tui.tui.app import run_app
from vibeserve_tui.tui.services import Choice, Finding, PlanForm, SkillEntry, TargetEntry
from vibeserve_tui.verbs.common import add_runs_dir

SECONDS_PER_ROUND = 45
DISK_MIB = 120


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    return _show(None, options.runs_dir or runs_root())


def show(directory: RunDir) -> int:
    """Open the app on a run that an engine works on, or worked on."""
    return _show(AttachedClient(directory), directory.path.parent)


def show_client(client: RunClient) -> int:
    return _show(client, runs_root())


def _show(client: RunClient | None, root: Path) -> int:
    config = load_config(os.environ, project=Path.cwd())
    return run_app(AppServices(root), client, config=config, config_dir=user_config_file().parent)


class AppServices:
    """The app's questions, answered; each may take a while and is asked from a thread."""

    version = __version__

    def __init__(self, root: Path) -> None:
        self._root = root
        self.crash_dir = platformdirs.user_state_path("vibeserve")

    def targets(self) -> Sequence[TargetEntry]:
        return [self._target(name, folder) for name, folder in shipped_targets().items()]

    def _target(self, name: str, folder: Path) -> TargetEntry:
        try:
            spec = read_definition(folder)
        except VibeServeError as error:
            return TargetEntry(name, folder, "cannot be read", blocked=str(error))
        usable = {n for n, f in discover().items() if f.backend and f.backend.availability(None).usable}
        blocked = "" if usable & set(spec.backends) else f"needs {' or '.join(spec.backends)}"
        levels = ", ".join(level.id for level in spec.levels)
        return TargetEntry(
            name,
            folder,
            spec.title,
            description=(folder / "OBJECTIVE.md").read_text("utf-8", "replace"),
            workload=f"{spec.workload.kind.value} at {levels}",
            backend=" ".join(spec.backends),
            blocked=blocked,
        )

    def doctor(self) -> Sequence[Finding]:
        return [_finding(requirement) for requirement in examine(self._root)]

    def runs(self) -> Sequence[RunSummary]:
        return list_runs(self._root)

    def skills(self) -> Sequence[SkillEntry]:
        library = SkillLibrary.load([shipped_folder(Shipped.SKILLS)])
        book, records = RecipeBook.load(library), ExperienceStore.of_this_user().read().records
        entries = []
        for skill in library.values():
            recipe = book.get(skill.name)
            own = [record for record in records if record.recipe == skill.name]
            kept = sum(record.outcome == "kept" for record in own)
            entries.append(
                SkillEntry(
                    name=skill.name,
                    title=recipe.spec.title if recipe else skill.description,
                    backends=tuple(skill.tags.backends),
                    has_recipe=recipe is not None,
                    applies=", ".join(str(c) for c in recipe.spec.requires.conditions()) if recipe else "",
                    expected=recipe.spec.prior.source if recipe else "",
                    history=f"tried {len(own)} times here, kept {kept}" if own else "never tried on this machine",
                    source="shipped",
                    path=skill.path,
                    text=skill.path.read_text("utf-8", "replace"),
                )
            )
        return entries

    def plan(self, target: str, changes: dict[str, str]) -> PlanForm:
        try:
            plan = plan_run(_wanted(target, changes))
        except VibeServeError as error:
            return PlanForm(target, self._choices(changes), blocked=str(error))
        minutes = f"at most {plan.max_minutes:g} min"
        command = " ".join(["vibeserve run", target, *_flags(changes)])
        return PlanForm(
            target,
            self._choices(
                {"backend": plan.backend, "profile": plan.profile, "agent": plan.agents["orchestrator"],
                 "policy": plan.policy, "approve": plan.approval, "rounds": str(plan.max_rounds),
                 "minutes": f"{plan.max_minutes:g}"} | changes
            ),
            estimate=f"{minutes}, {DISK_MIB} MiB, no key, $0",
            command=command,
            ready="ready, ⏎ starts",
        )  # fmt: skip

    def _choices(self, values: dict[str, str]) -> tuple[Choice, ...]:
        options = {
            "backend": tuple(sorted(discover())),
            "profile": tuple(shipped_profiles()),
            "agent": providers(),
            "policy": ("agent",),
            "approve": ("each-round", "on-regression", "auto"),
            "rounds": ("4", "8", "12", "24"),
            "minutes": ("5", "15", "60"),
        }
        notes = {"agent": {"playbook": "offline, no key, $0"}, "policy": {"agent": "issue board"}}
        return tuple(
            Choice(name, values.get(name, ""), known, notes.get(name, {}).get(values.get(name, ""), ""))
            for name, known in options.items()
        )

    def start(self, form: PlanForm) -> RunClient:
        changes = {choice.name: choice.value for choice in form.choices if choice.value}
        directory = create_run(plan_run(_wanted(form.target, changes)), self._root)
        launch(directory)
        return AttachedClient(directory)

    def attach(self, run: str) -> RunClient:
        return AttachedClient(find_run(run, self._root))

    def resume(self, run: str) -> None:
        start_engine(find_run(run, self._root))


def _wanted(target: str, changes: dict[str, str]) -> Wanted:
    try:
        return Wanted(
            target=target,
            profile=changes.get("profile", "quick"),
            backend=changes.get("backend", ""),
            agent=changes.get("agent", ""),
            approval=changes.get("approve", ""),
            max_rounds=int(changes["rounds"]) if changes.get("rounds") else None,
            max_minutes=float(changes["minutes"]) if changes.get("minutes") else None,
            asks=True,
        )
    except ValueError as error:
        raise InputError(f"rounds and minutes are numbers: {error}") from error


def _flags(changes: dict[str, str]) -> list[str]:
    names = {"rounds": "max-rounds", "minutes": "max-minutes"}
    return [f"--{names.get(name, name)} {value}" for name, value in changes.items() if name != "policy"]


def _finding(requirement: Requirement) -> Finding:
    if requirement.ok:
        return Finding(requirement.id, "ok", requirement.observed)
    state = {"required": "missing", "recommended": "attention", "info": "absent"}[requirement.severity]
    return Finding(requirement.id, state, requirement.observed, requirement.fix)  # type: ignore[arg-type]
