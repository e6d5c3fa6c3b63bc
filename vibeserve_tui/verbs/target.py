"""target: list the targets, check or calibrate one, make one around a model folder, or import one."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from vibeserve_tui.errors import InputError, TargetError
from vibeserve_tui.events import JudgeStep
from vibeserve_tui.inputs.own_targets import own_targets
from vibeserve_tui.inputs.scaffold import scaffold
from vibeserve_tui.inputs.target import FILE_NAME, load_target, read_definition, target_faults
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.starting import find_target
from vibeserve_tui.verbs.common import table

EXAMPLES = """
examples:
  vibeserve target ls
  vibeserve target check tiny-llama-chat              everything, with the seed server started
  vibeserve target check ./my-target --static         files and fields only
  vibeserve target new ./my-target --model ./weights  a complete folder, every field explained
  vibeserve target calibrate ./my-target              how far bf16 and int8 stray on these weights, and limits for them
  vibeserve target import ./examples/Llama-3-8B --into ./my-llama    a folder of the original system, with its programs
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    parser.add_argument("action", choices=["ls", "check", "new", "calibrate", "import"], help="what to do")
    parser.add_argument("path", nargs="?", default="", metavar="TARGET", help="a shipped target's name or a folder")
    parser.add_argument("--model", type=Path, default=None, metavar="DIR", help="folder of weights")
    parser.add_argument("--static", action="store_true", help="check: files and fields only, start nothing")
    parser.add_argument("--trust", default="", metavar="HASH", help="check, calibrate: trust hash of a foreign target")
    parser.add_argument("--title", default="", help="new: one line for people")
    parser.add_argument("--backend", default="cpu", help="new: hardware backend; check: where the seed is started")
    parser.add_argument("--positions", type=int, default=8192, help="calibrate: tokens per arithmetic")
    parser.add_argument("--seed", type=int, default=None, help="calibrate: of the draw; a new one unless given")
    parser.add_argument("--write", action="store_true", help="calibrate: put the class's limits into target.toml")
    parser.add_argument("--into", type=Path, default=None, metavar="DIR", help="import: the new target's folder")
    for name in ("metric", "revision", "architecture"):
        parser.add_argument(f"--{name}", default="", help="import: where its files do not say")
    parser.add_argument("--direction", default="", choices=["max", "min"], help="import: likewise")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    if options.action == "ls":
        return _list()
    if not options.path:
        raise InputError(f"target {options.action}: which one?", fix=f"vibeserve target {options.action} TARGET")
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new, "check": _check, "calibrate": _calibrate, "import": _import,
    }  # fmt: skip
    return actions[options.action](options)


def _list() -> int:
    """The shipped ones and the user's own; a broken one says so in its row and hides no other."""
    rows = [("TARGET", "BACKENDS", "TITLE")]
    for name, folder in (shipped_targets() | own_targets()).items():
        try:
            spec = read_definition(folder)
        except TargetError as error:
            rows.append((name, "–", str(error)))
            continue
        rows.append((name, " ".join(spec.backends), spec.title))
    print(table(rows))
    return 0


def _new(options: argparse.Namespace) -> int:
    if options.model is None:
        raise InputError(
            "target new: the model's folder is missing", fix="--model DIR with config.json and safetensors"
        )
    target = scaffold(Path(options.path), options.model, backend=options.backend, title=options.title)
    print(
        f"{target.root} is complete; next: vibeserve target check {target.root} --model {options.model} --trust {target.digest}"
    )
    return 0


def _import(options: argparse.Namespace) -> int:
    from vibeserve_tui.inputs.bundle import Answers, import_bundle, plain_name

    folder: Path = options.into or Path(plain_name(Path(options.path).resolve().name))
    answers = Answers(options.metric, options.direction, options.revision, options.architecture)
    spec, guesses = import_bundle(Path(options.path), folder, answers)
    print(f"{folder}: {', '.join(metric.name for metric in spec.headlines)} of {spec.model.architecture}; guessed:")
    for guess in guesses:
        print(f"  - {guess}")
    print(f"next: mend the guesses in {folder / FILE_NAME}, then vibeserve target check {folder} --static")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from vibeserve_tui.verbs.calibrate import calibrate

    return calibrate(options)


def _check(options: argparse.Namespace) -> int:
    from vibeserve_tui.evaluation.workload import Workload

    folder = find_target(options.path)
    faults = target_faults(folder, model=options.model)
    for fault in faults:
        print(f"vibeserve: {fault}", file=sys.stderr)
    if faults:
        return 2
    target = load_target(folder, model=options.model)
    Workload.load(target)  # every line of the corpus, under the model's own tokenizer
    print(f"✓ {target.spec.name}: files and fields are sound; trust hash {target.digest}")
    if options.static:
        return 0
    require_trust(target, options.trust)
    steps = asyncio.run(_live(options, folder))
    failed = [step for step in steps if not step.passed]
    if failed:
        first = f"{failed[0].title}: {failed[0].detail}"
        raise TargetError(f"{len(failed)} of {len(steps)} live steps failed, first {first}", where=str(folder))
    return 0


async def _live(options: argparse.Namespace, folder: Path) -> tuple[JudgeStep, ...]:
    from vibeserve_tui.backend import usable_device
    from vibeserve_tui.evaluation.target_check import check_target, seed_exam
    from vibeserve_tui.execution.launcher import Launcher
    from vibeserve_tui.state.run_dir import RunDir

    backend, device = usable_device(options.backend)
    launcher = Launcher.start("target-check")
    target = load_target(folder, model=options.model).for_backend(options.backend)
    try:
        with tempfile.TemporaryDirectory(prefix="vibeserve-check-") as scratch:
            directory = RunDir(Path(scratch) / "check")
            place = backend.candidate_env(device)
            nodes = tuple(Path(node) for node in place.devices)
            seed = seed_exam(launcher, target, directory, backend=options.backend, env=place.env, devices=nodes)
            async with seed as exam:
                return await check_target(exam, _show)
    finally:
        await launcher.close()


def _show(step: JudgeStep) -> None:
    print(
        f"{'✓' if step.passed else '✗'} {step.id} {step.title}: {step.detail} ({step.took_ms / 1000:.1f} s)", flush=True
    )
