"""`vibeserve export`: a champion's tree, its weights and its papers, written to a folder of the user's choice.

The tree is the commit that was judged and measured, byte for byte. Everything else lies beside it.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from vibeserve_tui.client import open_state
from vibeserve_tui.errors import EnvironmentFault, InputError, RunError
from vibeserve_tui.events import RunPlan
from vibeserve_tui.export.papers import Names, Origin, provenance, readme, run_script
from vibeserve_tui.export.requirements import requirements_text, third_party
from vibeserve_tui.inputs.target import Target, read_definition
from vibeserve_tui.inputs.target_files import IGNORED_NAMES, tree_digest
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

OWN_LICENCE = "Apache-2.0"
"""Of VibeServe's recipes, and of the targets that ship with it."""
_LICENCE_FILES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*")


def export_project(run: RunDir, destination: Path, *, number: int | None = None, force: bool = False) -> Origin:
    """Write round `number` (the confirmed champion unless given) to `destination`; returns what was exported.

    `force` also takes what was never confirmed or accepted, and replaces what an earlier export left there. Raises
    InputError for a round or folder that cannot be used, EnvironmentFault when the folder cannot be written.
    """
    origin = _origin(run, number, force=force)
    destination = destination.resolve()
    try:
        if not force and destination.exists() and any(destination.iterdir()):
            raise InputError("the folder is not empty", where=str(destination), fix="choose another one, or --force")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vibeserve-export-", dir=destination.parent) as scratch:
            project = Path(scratch) / "project"
            _write(run, origin, project)
            _move_into(destination, project)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written: {error.strerror}", where=str(destination), fix="choose another folder"
        ) from error
    return origin


# ---- what is exported ---------------------------------------------------------------------------------------------


def _origin(run: RunDir, number: int | None, *, force: bool) -> Origin:
    state = open_state(run)
    if state.plan is None:
        raise RunError("the run has not begun", where=run.name)
    if number is None:
        number = state.champion
        if state.confirmation is None and not force:
            raise RunError(
                f"no champion was confirmed against the seed; round {number} is the best so far",
                where=run.name,
                fix=f"let the run finish, or export it as it is with --round {number}",
            )
    record = state.rounds.get(number)
    if record is None or not record.commit:
        known = ", ".join(str(n) for n, r in sorted(state.rounds.items()) if r.commit) or "none yet"
        raise RunError(f"round {number} has no server to export", where=run.name, fix=f"rounds that have one: {known}")
    if not force and (record.verdict is None or not record.verdict.passed):
        raise RunError(
            f"the judge did not accept round {number}: {record.reason}", where=run.name, fix="--force exports it anyway"
        )
    if not run.store.is_dir():
        raise RunError("the run's store is missing", where=str(run.store))
    return Origin(state, state.plan, record, _target(run, state.plan))


def _target(run: RunDir, plan: RunPlan) -> Target:
    root = _target_root(run, plan)
    if not root.is_dir() or tree_digest(root) != plan.target_digest:
        raise RunError("the run's copy of its target is missing or was changed", where=str(root))
    target, faults = read_definition(root).overridden(plan.backend)
    assert target is not None, faults  # checked when the run began
    return target


def _target_root(run: RunDir, plan: RunPlan) -> Path:
    return run.path / "target" / plan.target


# ---- writing it ---------------------------------------------------------------------------------------------------


def _write(run: RunDir, origin: Origin, project: Path) -> None:
    Store(run.store).checkout(origin.record.commit, project)
    root = _target_root(run, origin.plan)
    needed = third_party(project, origin.target.serve.command)
    names = Names(
        readme=_free(project, "README.md"),
        requirements=_free(project, "requirements.txt"),
        model=_free(project, "model"),
        build=_free(project, "build"),
        start=_free(project, "run.sh"),
        provenance=_free(project, "provenance.json"),
        licences=_copy_licences(root, origin.target, project),
    )
    if origin.target.model.source == "bundled" and origin.target.model.path:
        ignored = shutil.ignore_patterns(*IGNORED_NAMES)
        # Contents only: the run's copy is closed to others and read-only, the project is the user's own.
        model = shutil.copytree(
            root / origin.target.model.path, project / names.model, copy_function=shutil.copyfile, ignore=ignored
        )
        for folder in (model, *(path for path in model.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    versions = origin.state.versions
    (project / names.requirements).write_text(requirements_text(needed, versions), "utf-8")
    fallbacks = [requirement.package for requirement in needed if requirement.optional]
    (project / names.readme).write_text(readme(origin, names, versions, fallbacks), "utf-8")
    (project / names.provenance).write_text(provenance(origin, versions), "utf-8")
    (project / names.start).write_text(run_script(origin, names), "utf-8")
    (project / names.start).chmod(0o755)


def _free(project: Path, name: str) -> str:
    """`name`, unless the tree has such a file: the tree stays what was measured."""
    return f"vibeserve-{name}" if (project / name).exists() else name


def _copy_licences(root: Path, target: Target, project: Path) -> tuple[str, ...]:
    """The target's licence files; a target under our own licence may leave its text to us."""
    texts = {
        path.name: path.read_text("utf-8", "replace")
        for path in sorted(root.iterdir())
        if path.is_file() and any(path.match(pattern) for pattern in _LICENCE_FILES)
    }
    if target.license == OWN_LICENCE and not any(name.startswith("LIC") for name in texts):
        with suppress(importlib.metadata.PackageNotFoundError):
            own = importlib.metadata.distribution("vibeserve-tui").read_text("licenses/LICENSE")
            texts |= {"LICENSE": own} if own else {}
    names = {name: _free(project, name) for name in sorted(texts)}
    for name, text in texts.items():
        (project / names[name]).write_text(text, "utf-8")
    return tuple(names.values())


def _move_into(destination: Path, project: Path) -> None:
    """Put the finished project in place; what it does not replace stays there."""
    destination.mkdir(exist_ok=True)
    for entry in sorted(project.iterdir()):
        old = destination / entry.name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        entry.replace(old)
