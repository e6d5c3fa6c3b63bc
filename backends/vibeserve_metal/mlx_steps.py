"""MLX's own view of a server: how long each `mx.eval` takes, the memory it holds, and on request a Metal capture.

A start-up hook wraps `mx.eval`; the server need not know. MLX is lazy, so an eval is a step: between two of them the host
works alone. `MlxCapture` besides records a .gputrace of the first evals in the window, which only Xcode can open: it slows a
server down by tens of times and fills gigabytes. Tested with a stand-in for MLX; not run on a Mac.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from vibeserve_cpu.injected import watched_by
from vibeserve_tui.backend import Availability, LaunchPlan, Value, Window
from vibeserve_tui.profile_report import ProfileReport, Quality, covered

WATCHER = Path(__file__).with_name("inject") / "vibeserve_mlx_watcher.py"
FILE, CAPTURE = "mlx_steps.json", "server.gputrace"
MIN_STEPS = 20
IDLE = 0.20


class Steps(Value):
    """What the hook writes: seconds since it was armed, bytes."""

    evals: tuple[tuple[float, float], ...]
    peak_memory: int | None
    active_memory: int | None
    cache_memory: int | None
    captured: bool


class MlxSteps:
    id = "mlx-steps"
    title = "evaluations and memory, by MLX itself"
    _capture = False

    def availability(self) -> Availability:
        if importlib.util.find_spec("mlx"):
            return Availability(usable=True)
        return Availability(usable=False, reason="mlx is not installed", fix="pip install 'vibeserve-tui[metal]'")

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:
        env = watched_by(WATCHER, out / FILE, window)
        if self._capture:
            env |= {"MTL_CAPTURE_ENABLED": "1", "VIBESERVE_MLX_CAPTURE": str(out / CAPTURE)}
        return LaunchPlan(argv=tuple(argv), env=env, written=FILE, max_bytes=16 << 30)

    def parse(self, out: Path) -> ProfileReport:
        try:
            steps = Steps.model_validate_json((out / FILE).read_bytes())
        except OSError as error:
            raise ValueError(f"MLX left no steps: {error.strerror}") from error
        except ValidationError as error:
            raise ValueError("not the steps of an MLX server") from error
        return report(steps)


class MlxCapture(MlxSteps):
    id = "mlx-capture"
    title = "a Metal capture for Xcode, by MLX"
    _capture = True


def report(steps: Steps) -> ProfileReport:
    """Raises ValueError for fewer than 20 evaluations."""
    if len(steps.evals) < MIN_STEPS:
        raise ValueError(f"only {len(steps.evals)} evaluations, {MIN_STEPS} are needed")
    window = max(end for _, end in steps.evals) - min(start for start, _ in steps.evals)
    if window <= 0:
        raise ValueError("the evaluations took no time")
    inside = covered(steps.evals) / window
    return ProfileReport(
        tool="mlx-capture" if steps.captured else "mlx-steps",
        window_s=window,
        samples=len(steps.evals),
        phases={"model": round(inside, 4), "host": round(1 - inside, 4)},
        operations={"mx.eval": round(inside, 4)},
        hints=("python_overhead_bound",) if 1 - inside > IDLE else (),
        quality=Quality.PERTURBED if steps.captured else Quality.UNCALIBRATED,
    )
