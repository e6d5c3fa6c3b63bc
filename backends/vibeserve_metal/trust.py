"""May we measure on this Mac, and may we believe what was measured? Pure rules over a series of telemetry.

A laptop changes its speed by itself: heat, battery and Low Power Mode cost up to half of it. The limits are design
choices, to be calibrated on hardware.
"""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_cpu import host
from vibeserve_metal.telemetry import FOREIGN_SHARE
from vibeserve_tui.backend import GateCheck, Telemetry

CLOCK_FALL = 0.10
FOREIGN_VOID = 0.25
"""During a measurement a window that is redrawn is only worth a warning; a second program at work is not."""
BUSY = 0.50
"""A clock is compared only between times of real load: an idle GPU clocks down by itself."""


def ready(recent: Sequence[Telemetry]) -> GateCheck:
    reasons = [*_unread(recent), *_machine(recent)]
    if (busy := _foreign(recent)) > FOREIGN_SHARE:
        reasons.append(f"other processes use {busy:.0%} of the GPU, limit {FOREIGN_SHARE:.0%}")
    reasons += _warm(recent)
    return GateCheck(ok=not reasons, reasons=tuple(reasons))


def trusted(during: Sequence[Telemetry]) -> GateCheck:
    if not during:
        return GateCheck(ok=False, reasons=("there is no telemetry of this time",))
    reasons = [*_unread(during), *_machine(during)]
    warnings: list[str] = []
    if (busy := _foreign(during)) > FOREIGN_SHARE:
        told = f"other processes used {busy:.0%} of the GPU"
        (reasons if busy > FOREIGN_VOID else warnings).append(told)
    reasons += _warm(during)
    clocks = [s.clock_mhz for s in during if s.clock_mhz and (s.util or 0.0) >= BUSY]
    if clocks and clocks[-1] < (1 - CLOCK_FALL) * clocks[0]:
        reasons.append(f"the GPU's clock fell from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz")
    if during[-1].thermal_level is None:
        warnings.append("the thermal level could not be read")
    return GateCheck(ok=not reasons, reasons=tuple(reasons), warnings=tuple(warnings))


def _unread(series: Sequence[Telemetry]) -> list[str]:
    """Host figures alone do not vouch for a GPU."""
    return [] if any(sample.util is not None for sample in series[-1:]) else ["nothing could be read from the GPU"]


def _warm(series: Sequence[Telemetry]) -> list[str]:
    """As strict during a measurement as before it: one that grew warm in an earlier block is warm in the next ones too."""
    level = max((sample.thermal_level or 0 for sample in series[1:] or series), default=0)
    return [f"the machine is warm (thermal level {level}): let it cool down"] if level else []


def _foreign(series: Sequence[Telemetry]) -> float:
    return host.mean(sample.foreign_util for sample in series) or 0.0


def _machine(series: Sequence[Telemetry]) -> list[str]:
    saving = any(sample.low_power_mode for sample in series)
    return [*host.faults(series), *(["Low Power Mode is on"] if saving else [])]
