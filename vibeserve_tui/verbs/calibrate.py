"""target calibrate: how far honest rounding strays on this checkpoint, as a table and as limits for the judge."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import tomllib
from pathlib import Path

from vibeserve_tui.errors import TargetError
from vibeserve_tui.evaluation import calibration
from vibeserve_tui.evaluation.calibration import Row
from vibeserve_tui.evaluation.reference import spawn_boxed
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.target import FILE_NAME, LoadedTarget, load_target
from vibeserve_tui.inputs.target_sections import CLASS_LIMITS, GapLimits
from vibeserve_tui.inputs.toml_writer import with_limits
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.starting import find_target

COLUMNS = ("max", "p99", "mean", "share_05", "share_2")
LINE = "{:<30} {:<7} {:>9} {:>9}" + " {:>9}" * len(COLUMNS)


def calibrate(options: argparse.Namespace) -> int:
    folder = find_target(options.path)
    target = load_target(folder, model=options.model)
    require_trust(target, options.trust)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(LINE.format("ARITHMETIC", "WEIGHTS", "SAME TEXT", "POSITIONS", *(name.upper() for name in COLUMNS)))
    rows = asyncio.run(_rows(target, options.positions, seed))
    print(f"\nlimits {calibration.MARGIN:g} times beyond the worst arithmetic that each class is for (seed {seed}):")
    for name in CLASS_LIMITS:
        _show_limits(name, rows)
    if options.write:
        _write(folder, target, calibration.limits_of(rows, target.spec.accuracy.tolerance_class), rows)
    return 0


async def _rows(target: LoadedTarget, positions: int, seed: int) -> tuple[Row, ...]:
    launcher = Launcher.start("target-calibrate")
    try:
        with tempfile.TemporaryDirectory(prefix="vibeserve-calibrate-") as scratch:
            lab = calibration.Laboratory(target, Workload.load(target), Path(scratch), spawn_boxed(launcher))
            return await calibration.calibrate(lab, positions=positions, seed=seed, progress=_show)
    finally:
        await launcher.close()


def _show(row: Row) -> None:
    numbers = row.statistics.numbers()
    figures = (_percent(numbers[name]) if name.startswith("share") else f"{numbers[name]:.4g}" for name in COLUMNS)
    same, positions = f"{row.same}/{row.answers}", row.statistics.positions
    print(LINE.format(row.arithmetic.name, row.weights, same, positions, *figures), flush=True)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _show_limits(name: str, rows: tuple[Row, ...]) -> None:
    limits = calibration.limits_of(rows, name)
    written = ", ".join(f"{key} = {value:g}" for key, value in limits.model_dump(exclude_none=True).items())
    through = ", ".join(sorted({row.arithmetic.name for row in calibration.let_through(rows, limits)}))
    print(f"  {name:<10} {written}{f'   ✗ lets through: {through}' if through else ''}")


def _write(folder: Path, target: LoadedTarget, limits: GapLimits, rows: tuple[Row, ...]) -> None:
    path = folder / FILE_NAME
    if through := calibration.let_through(rows, limits):
        raise TargetError(
            f"these limits would let {through[0].arithmetic.name} pass",
            where=str(path),
            fix="judge this model in a narrower class, or by a task score",
        )
    text = with_limits(path.read_text("utf-8"), limits)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = "limits cannot be added to its accuracy the way it is written"
        raise TargetError(what, where=str(path), fix="write it as a table of its own, [accuracy]") from error
    path.write_text(text, "utf-8")
    digest = load_target(folder, model=target.model_dir if target.spec.model.source == "local" else None).digest
    print(f"{path}: accuracy.limits written; the target's trust hash is now {digest}")
