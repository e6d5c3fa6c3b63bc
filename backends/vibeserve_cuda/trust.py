"""May we measure on this GPU, and may we believe what was measured? Pure rules over a series of telemetry.

A GPU that slowed down for heat or power says nothing about a server; at full load the power cap alone is normal on large
cards, so that is a warning. The limits are design choices, to be calibrated on hardware.
"""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_cpu import host
from vibeserve_cuda.telemetry import FOREIGN_SHARE
from vibeserve_tui.backend import GateCheck, Telemetry

VOID = frozenset({"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake"})
WARN = frozenset({"power cap"})
CLOCK_FALL = 0.10


def ready(recent: Sequence[Telemetry]) -> GateCheck:
    reasons = [*_unread(recent), *host.faults(recent), *_slowed(recent), *_strangers(recent)]
    return GateCheck(ok=not reasons, reasons=tuple(reasons))


def trusted(during: Sequence[Telemetry]) -> GateCheck:
    if not during:
        return GateCheck(ok=False, reasons=("there is no telemetry of this time",))
    reasons = [*_unread(during), *host.faults(during), *_slowed(during), *_strangers(during)]
    return GateCheck(ok=not reasons, reasons=tuple(reasons), warnings=tuple(_warnings(during)))


def _unread(series: Sequence[Telemetry]) -> list[str]:
    """Host figures alone do not vouch for a GPU."""
    last = series[-1:]
    seen = [value for sample in last for value in (sample.util, sample.clock_mhz, sample.temp_c) if value is not None]
    return [] if seen else ["nothing could be read from the GPU"]


def _strangers(series: Sequence[Telemetry]) -> list[str]:
    """As strict during a measurement as before it: one who came in an earlier block is there in the next ones too."""
    current = series[1:] or series
    busy = max((sample.foreign_util or 0.0 for sample in current), default=0.0)
    if busy > FOREIGN_SHARE:
        return [f"other processes use {busy:.0%} of the GPU, limit {FOREIGN_SHARE:.0%}"]
    pids = sorted({pid for sample in current for pid in sample.foreign_pids or ()})
    return [f"other processes hold the GPU: pid {', '.join(map(str, pids))}"] if pids else []


def _slowed(series: Sequence[Telemetry]) -> list[str]:
    # A sample speaks of the time since the one before it: the first is of an earlier time.
    seen = {reason for sample in series[1:] or series for reason in sample.throttle or ()}
    return [f"the GPU slowed down: {reason}" for reason in sorted(seen & VOID)]


def _warnings(series: Sequence[Telemetry]) -> list[str]:
    seen = {reason for sample in series[1:] or series for reason in sample.throttle or ()}
    found = [f"the GPU ran at its {reason}" for reason in sorted(seen & WARN)]
    clocks = [sample.clock_mhz for sample in series if sample.clock_mhz]
    if clocks and clocks[-1] < (1 - CLOCK_FALL) * clocks[0]:
        found.append(f"the clock fell from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz")
    return found
