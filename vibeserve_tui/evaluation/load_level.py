"""A target's load level and a list of requests made into a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vibeserve_tui.errors import InputError, TargetError
from vibeserve_tui.evaluation.load_plan import LoadPlan, Mode
from vibeserve_tui.evaluation.strict_json import Fields, parse
from vibeserve_tui.evaluation.workload import PlannedRequest, calls_of
from vibeserve_tui.inputs.workload_spec import BurstLevel, ClosedLevel, Level, PoissonLevel, TraceLevel


@dataclass(frozen=True, slots=True)
class Address:
    """Where the load goes."""

    host: str
    port: int
    path: str


def plan_of(
    level: Level,
    requests: Sequence[PlannedRequest],
    address: Address,
    *,
    deadline_s: float,
    seed: int = 0,
) -> LoadPlan:
    """`seed` draws Poisson gaps. A trace's requests come with their times: `timed`."""
    mode, concurrency, rate, burstiness, time_scale = Mode.BURST, None, None, 1.0, 1.0
    match level:
        case ClosedLevel():
            mode, concurrency = Mode.CLOSED, level.concurrency
        case PoissonLevel():
            mode, concurrency = Mode.POISSON, level.max_concurrency
            rate, burstiness = level.rate, level.burstiness
        case TraceLevel():
            mode, time_scale = Mode.TRACE, level.factor
        case BurstLevel():
            pass
        case _:
            raise TargetError(f"the load generator has no mode {level.mode}", where=f"levels: {level.id}")
    return LoadPlan(
        host=address.host,
        port=address.port,
        mode=mode,
        calls=calls_of(requests, address.path),
        deadline_s=deadline_s,
        concurrency=concurrency,
        rate=rate,
        burstiness=burstiness,
        seed=seed,
        time_scale=time_scale,
    )


def timed(requests: Sequence[PlannedRequest], trace: Path) -> tuple[PlannedRequest, ...]:
    """The requests at the times of a trace, from JSON lines `{"at_s": …}` in any order."""
    times = _trace_times(trace)
    if len(times) < len(requests):
        raise TargetError(f"{len(times)} times are too few for {len(requests)} requests", where=str(trace))
    return tuple(replace(request, at_s=at_s) for request, at_s in zip(requests, times, strict=False))


def _trace_times(path: Path) -> tuple[float, ...]:
    times = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = Fields(parse(line, f"{path}:{number}"), f"{path}:{number}")
            times.append(fields.number("at_s"))
            fields.close()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"the trace cannot be read: {error}", where=str(path)) from error
    except InputError as error:
        raise TargetError(error.what, where=error.where) from error
    return tuple(sorted(times))
