"""skills: the library as this machine sees it, one skill to read, the linter's findings, or a new one out of a run."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from vibeserve_tui.backend import load_backend
from vibeserve_tui.errors import InputError
from vibeserve_tui.inputs.own_skills import own_skills_folder, skills_folders
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.resources import Shipped, shipped_folder
from vibeserve_tui.safe_text import clean
from vibeserve_tui.verbs.common import add_runs_dir, root_of, table

EXAMPLES = """
examples:
  vibeserve skills show kv-cache-preallocate       read one
  vibeserve skills promote latest 7 --as my-trick  make a recipe of what an agent wrote in round 7
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    actions = ["ls", "show", "stats", "lint", "promote"]
    parser.add_argument("action", nargs="?", default="ls", choices=actions, help="what to do")
    parser.add_argument("name", nargs="?", default="", help="the skill to show, or the run to promote from")
    parser.add_argument("round", nargs="?", type=int, default=None, help="the round to promote")
    parser.add_argument("--backend", default="cpu", help="list what is offered on this backend")
    parser.add_argument(
        "--skills-dir", type=Path, default=None, metavar="DIR", help="skills of your own, over the shipped ones"
    )
    parser.add_argument("--as", dest="skill", default="", metavar="NAME", help="what to call the promoted skill")
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    if options.action == "promote":
        return _promote(options)
    folders = [shipped_folder(Shipped.SKILLS), options.skills_dir] if options.skills_dir else skills_folders()
    library = SkillLibrary.load(folders)
    match options.action:
        case "show":
            print(clean(library.find(options.name).path.read_text("utf-8", "replace")))
        case "stats":
            _stats(library)
        case "lint":
            return _lint(library)
        case _:
            _list(library, options.backend)
    return 0


def _list(library: SkillLibrary, backend_name: str) -> None:
    backend = load_backend(backend_name)
    device = next(iter(backend.detect()), None)
    offers = library.for_backend(backend.skill_tags, "text_generation", device.capabilities if device else ())
    rows = [("SKILL", "RECIPE", "OFFERED", "WHY")]
    for offer in offers:
        recipe = "recipe" if offer.skill.recipe else "text"
        instead = f"; in place of {offer.skill.shadows}" if offer.skill.shadows else ""
        rows.append((offer.skill.name, recipe, "yes" if offer.offered else "no", offer.why + instead))
    print(table(rows))


def _stats(library: SkillLibrary) -> None:
    """What each recipe did in earlier runs on this machine, from the experience store."""
    from vibeserve_tui.recipes.experience import ExperienceStore

    records = ExperienceStore.of_this_user().read().records
    rows = [("RECIPE", "TRIALS", "KEPT", "BEST", "LAST")]
    for name in sorted({record.recipe for record in records} & set(library)):
        own = [record for record in records if record.recipe == name]
        ratios = [record.ratio for record in own if record.ratio]
        best = f"×{max(ratios):.2f}" if ratios else "–"
        last = f"×{own[-1].ratio:.2f} {own[-1].outcome}" if own[-1].ratio else str(own[-1].outcome)
        rows.append((name, str(len(own)), str(sum(record.outcome == "kept" for record in own)), best, last))
    print(table(rows, right=(1, 2, 3)) if len(rows) > 1 else "no trials yet on this machine")


def _lint(library: SkillLibrary) -> int:
    from vibeserve_tui.recipes.lint import lint

    findings = lint(library)
    print("\n".join(findings) if findings else f"{len(library)} skills, no findings")
    return 2 if findings else 0


def _promote(options: argparse.Namespace) -> int:
    """A recipe out of an accepted round that an agent wrote."""
    from vibeserve_tui.client import open_state
    from vibeserve_tui.inputs.target import read_definition
    from vibeserve_tui.recipes.promote import Origin
    from vibeserve_tui.recipes.promotion import Change, promote
    from vibeserve_tui.state.run_dir import find_run
    from vibeserve_tui.state.workspace import Store

    if not options.name or options.round is None:
        raise InputError("promote needs a run and a round", fix="vibeserve skills promote latest 7")
    run = find_run(options.name, root_of(options))
    state = open_state(run)
    record, plan, device = state.rounds.get(options.round), state.plan, state.device
    if record is None or plan is None or device is None:
        raise InputError(f"there is no finished round {options.round}", where=run.name, fix="vibeserve report")
    if record.outcome != "kept" or record.task.kind != "agent" or record.number == 0:
        raise InputError(
            f"round {record.number} is {record.outcome} and of kind {record.task.kind}",
            where=run.name,
            fix="promote a kept round that an agent wrote; recipes are in the library already",
        )
    target = run.path / "target" / plan.target
    spec = read_definition(target)
    origin = Origin(
        name=options.skill or _slug(record.task.title),
        record=record,
        run=run.name,
        backend=plan.backend,
        device=device.name,
        architecture=spec.model.architecture,
        accuracy=spec.accuracy.tolerance_class,
    )
    store, shas = Store(run.store), (state.rounds[record.task.parent].commit, record.commit)
    before, after = ({path: store.read_file(sha, path) for path in store.files(sha)} for sha in shas)
    destination: Path = options.skills_dir or own_skills_folder()
    library = [shipped_folder(Shipped.SKILLS), *([destination] if destination.is_dir() else [])]
    print(promote(origin, Change(before, after, target / spec.seed), library, destination))
    print(f"{origin.name} is offered to every later run on this machine", file=sys.stderr)
    return 0


def _slug(title: str) -> str:
    words = re.findall(r"[a-z0-9]+", title.lower())
    return "-".join(words)[:60].strip("-") or "promoted"
