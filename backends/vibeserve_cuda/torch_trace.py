"""torch.profiler without the server's co-operation: a start-up hook takes a Chrome trace of a few seconds.

The trace's kernels give a timeline of the GPU. Without kernels (a server that ran on the processor) the operators' self
times are reported instead, which is what could be checked here: the hook and the parser ran against torch on a CPU; kernel
events follow torch's format, and were not recorded on a GPU yet. Traces hold the host name: they stay in their folder.
"""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vibeserve_cpu.injected import watched_by
from vibeserve_cuda.timeline import MIN_KERNELS, Timeline, Work, report
from vibeserve_tui.backend import Availability, LaunchPlan, Window
from vibeserve_tui.profile_report import TOP, ProfileReport, shares

WATCHER = Path(__file__).with_name("inject") / "vibeserve_torch_watcher.py"
FILE = "trace.json"
DEVICE = frozenset({"kernel"})
COPIES = frozenset({"gpu_memcpy", "gpu_memset"})
CALLS = frozenset({"cuda_runtime", "cuda_driver"})


class TorchTrace:
    id = "torch"
    title = "operators and kernels, by torch.profiler"

    def availability(self) -> Availability:
        if importlib.util.find_spec("torch"):
            return Availability(usable=True)
        return Availability(usable=False, reason="torch is not installed", fix="pip install 'vibeserve-tui[cuda]'")

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:
        watcher = watched_by(WATCHER, out / FILE, window)
        return LaunchPlan(argv=tuple(argv), env=watcher, written=FILE)

    def parse(self, out: Path) -> ProfileReport:
        try:
            text = (out / FILE).read_text("utf-8", "replace")
        except OSError as error:
            raise ValueError(f"torch left no trace: {error.strerror}") from error
        match json.loads(text):
            case {"traceEvents": [*events]}:
                return report_of(one for one in events if isinstance(one, dict) and one.get("ph") == "X")
        raise ValueError("not a Chrome trace")


def report_of(events: Iterable[Mapping[str, object]]) -> ProfileReport:
    """Of complete events. Raises ValueError when they are neither of a GPU nor of operators."""
    by_kind: dict[str, list[Work]] = defaultdict(list)
    threads: dict[object, list[Work]] = defaultdict(list)
    for event in events:
        name, kind, start, took = event.get("name"), event.get("cat"), event.get("ts"), event.get("dur")
        if not isinstance(name, str) or not isinstance(start, int | float) or not isinstance(took, int | float):
            continue
        work = Work(name, start * 1e3, (start + took) * 1e3)
        group = "device" if kind in DEVICE else "copy" if kind in COPIES else "call" if kind in CALLS else str(kind)
        by_kind[group].append(work)
        if kind == "cpu_op":
            threads[event.get("tid")].append(work)
    if by_kind["device"]:
        return report("torch", Timeline(by_kind["device"], by_kind["copy"], by_kind["call"]))
    return _of_operators(threads.values())


def _of_operators(threads: Iterable[Sequence[Work]]) -> ProfileReport:
    groups = list(threads)
    operators = [one for group in groups for one in group]
    if len(operators) < MIN_KERNELS:
        raise ValueError(f"no kernels, and only {len(operators)} operators")
    window = max(one.end for one in operators) - min(one.start for one in operators)
    spent = (entry for group in groups for entry in self_times(group))
    return ProfileReport(
        tool="torch",
        window_s=window / 1e9,
        samples=len(operators),
        phases={"numerics": 1.0},
        operations=shares(spent, TOP),
    )


def self_times(operators: Sequence[Work]) -> Iterator[tuple[str, float]]:
    """Times of one thread's operators; what is spent in another one inside is taken away from the outer."""
    outer: list[Work] = []
    for one in sorted(operators, key=lambda work: (work.start, -work.end)):
        while outer and one.start >= outer[-1].end:
            outer.pop()
        if outer:
            yield outer[-1].name, -one.took
        yield one.name, one.took
        outer.append(one)
