"""May we measure on this Mac, and may we believe what was measured? Pure rules over a series of telemetry.

A laptop changes its speed by itself: heat, battery and Low Power Mode cost up to half of it. The limits are design
choices, to be calibrated on hardware.
"""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_metal.telemetry import FOREIGN_SHARE
from vibeserve_tui.backend import GateCheck, Telemetry

SWAP_LIMIT = 64 << 20
CLOCK_FALL = 0.10
FOREIGN_VOID = 0.25
"""During a measurement a window that is redrawn is only worth a warning; a second program at work is not."""
BUSY = 0.50
"""A clock is compared only between times of real load: an idle GPU clocks down by itself."""


def ready(recent: Sequence[Telemetry]) -> GateCheck:
    reasons = [*_unread(recent), *_host(recent)]
    if (busy := _foreign(recent)) > FOREIGN_SHARE:
        reasons.append(f"other processes use {busy:.0%} of the GPU, limit {FOREIGN_SHARE:.0%}")
    level = max((sample.thermal_level for sample in recent if sample.thermal_level is not None), default=0)
    if level > 0:
        reasons.append(f"the machine is warm (thermal level {level}): let it cool down")
    return GateCheck(ok=not reasons, reasons=tuple(reasons))


def trusted(during: Sequence[Telemetry]) -> GateCheck:
    if not during:
        return GateCheck(ok=False, reasons=("there is no telemetry of this time",))
    reasons = [*_unread(during), *_host(during)]
    warnings: list[str] = []
    if (busy := _foreign(during)) > FOREIGN_SHARE:
        told = f"other processes used {busy:.0%} of the GPU"
        (reasons if busy > FOREIGN_VOID else warnings).append(told)
    levels = [sample.thermal_level for sample in during if sample.thermal_level is not None]
    if levels and levels[-1] > levels[0]:
        reasons.append(f"the machine grew warm: thermal level {levels[0]} to {levels[-1]}")
    clocks = [s.clock_mhz for s in during if s.clock_mhz and (s.util or 0.0) >= BUSY]
    if clocks and clocks[-1] < (1 - CLOCK_FALL) * clocks[0]:
        reasons.append(f"the GPU's clock fell from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz")
    if not levels:
        warnings.append("the thermal level could not be read")
    return GateCheck(ok=not reasons, reasons=tuple(reasons), warnings=tuple(warnings))


def _unread(series: Sequence[Telemetry]) -> list[str]:
    """Host figures alone do not vouch for a GPU."""
    return [] if any(sample.util is not None for sample in series[-1:]) else ["nothing could be read from the GPU"]


def _foreign(series: Sequence[Telemetry]) -> float:
    shares = [sample.foreign_util for sample in series if sample.foreign_util is not None]
    return sum(shares) / len(shares) if shares else 0.0


def _host(series: Sequence[Telemetry]) -> list[str]:
    swap = [sample.swap_used for sample in series if sample.swap_used is not None]
    reasons = ["swap is growing"] if swap and max(swap) - swap[0] > SWAP_LIMIT else []
    if any(sample.on_battery for sample in series):
        reasons.append("on battery")
    return reasons + (["Low Power Mode is on"] if any(sample.low_power_mode for sample in series) else [])
