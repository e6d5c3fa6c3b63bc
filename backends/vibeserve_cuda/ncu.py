"""Nsight Compute: how near single kernels come to what the GPU can move and compute.

It runs each kernel alone and several times, so a profile of it is always perturbed: it says what a kernel is bound by, never
how fast a server is. Counters need a permission that many machines withhold (ERR_NVGPUCTRPERM). The parser is checked
against written samples of the raw page; ncu was not run on a GPU yet.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vibeserve_cuda.timeline import phase_of, short
from vibeserve_tui.backend import Availability, LaunchPlan, Window
from vibeserve_tui.profile_report import TOP, ProfileReport, Quality, shares

FILE = "ncu.csv"
TIME = "gpu__time_duration.sum"
MEMORY = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
COMPUTE = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
SKIPPED = 2000
"""Kernels of loading and warming up."""
TAKEN = 200
NANOSECONDS = {
    "ns": 1.0, "nsecond": 1.0, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6, "s": 1e9, "second": 1e9,
}  # fmt: skip
IN_EARNEST = 0.30
NEAR = 60.0


class Ncu:
    id = "ncu"
    title = "single kernels against their ceilings, by Nsight Compute"

    def availability(self) -> Availability:
        if shutil.which("ncu"):
            return Availability(usable=True)
        return Availability(usable=False, reason="ncu is not found", fix="install NVIDIA Nsight Compute")

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:  # noqa: ARG002 - it counts kernels, not seconds
        return LaunchPlan(
            argv=(
                "ncu", "--clock-control=none", "--target-processes=all", "--csv", "--page=raw", f"--log-file={out / FILE}",
                f"--launch-skip={SKIPPED}", f"--launch-count={TAKEN}", f"--metrics={TIME},{MEMORY},{COMPUTE}", *argv,
            )
        )  # fmt: skip

    def parse(self, out: Path) -> ProfileReport:
        try:
            text = (out / FILE).read_text("utf-8", "replace")
        except OSError as error:
            raise ValueError(f"ncu left no table: {error.strerror}") from error
        return report(text)


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel that ncu ran; shares of the peak in percent."""

    name: str
    took_ns: float
    memory: float | None
    compute: float | None


def report(text: str) -> ProfileReport:
    """Raises ValueError without permission for counters, or without kernels."""
    if "ERR_NVGPUCTRPERM" in text:
        raise ValueError("no permission for GPU counters (ERR_NVGPUCTRPERM): run as root, or allow them in the driver")
    found = list(launches(text))
    if not found:
        raise ValueError("no kernels in this table")
    spent = sum(one.took_ns for one in found)
    return ProfileReport(
        tool="ncu",
        window_s=spent / 1e9,
        samples=len(found),
        phases=shares((phase_of(one.name), one.took_ns) for one in found),
        operations=shares(((short(one.name), one.took_ns) for one in found), TOP),
        hints=_hints(found, spent),
        quality=Quality.PERTURBED,
    )


def launches(text: str) -> Iterator[Launch]:
    """Rows of the raw page: a header, a row of units, then a row per launch; ncu's own lines stand before it."""
    table = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if len(table) < 2:
        return
    header, units, *body = table
    unit_of = dict(zip(header, units, strict=False))
    missing = {"Kernel Name", TIME} - set(header)
    if missing:
        raise ValueError(f"the table has no column {', '.join(sorted(missing))}")
    scale = NANOSECONDS.get(unit_of[TIME])
    if scale is None:
        raise ValueError(f"times in an unknown unit, {unit_of[TIME]!r}")
    for line in body:
        row = dict(zip(header, line, strict=False))
        took = _number(row.get(TIME))
        if took is not None:
            yield Launch(row["Kernel Name"], took * scale, _number(row.get(MEMORY)), _number(row.get(COMPUTE)))


def _number(cell: str | None) -> float | None:
    """'1,205.00' is 1205; 'n/a' is None."""
    try:
        return float((cell or "").replace(",", ""))
    except ValueError:
        return None


def _hints(found: Sequence[Launch], spent: float) -> tuple[str, ...]:
    hints = []
    for code, near in (
        ("kernel_bandwidth_bound", [one for one in found if (one.memory or 0.0) >= NEAR]),
        ("kernel_compute_bound", [one for one in found if (one.compute or 0.0) >= NEAR]),
    ):
        if sum(one.took_ns for one in near) >= IN_EARNEST * spent:
            hints.append(code)
    return tuple(hints)
