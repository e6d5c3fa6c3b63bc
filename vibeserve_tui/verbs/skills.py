"""skills: the library as this machine sees it, one skill to read, or the linter's findings."""

from __future__ import annotations

import argparse
from pathlib import Path

from vibeserve_tui.backend import load_backend
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.resources import Shipped, shipped_folder
from vibeserve_tui.verbs.common import table


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.add_argument("action", nargs="?", default="ls", choices=["ls", "show", "stats", "lint"], help="what to do")
    parser.add_argument("name", nargs="?", default="", help="the skill to show")
    parser.add_argument("--backend", default="cpu", help="list what is offered on this backend")
    parser.add_argument(
        "--skills-dir", type=Path, default=None, metavar="DIR", help="skills of your own, over the shipped ones"
    )


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    folders = [shipped_folder(Shipped.SKILLS), *([options.skills_dir] if options.skills_dir else [])]
    library = SkillLibrary.load(folders)
    match options.action:
        case "show":
            print(library.find(options.name).path.read_text("utf-8"))
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
        rows.append((offer.skill.name, recipe, "yes" if offer.offered else "no", offer.why))
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
