"""What every backend asks of the host: process trees, a file that grows, and when the host spoils a measurement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from vibeserve_tui.backend import Telemetry

STEAL_LIMIT = 0.05
SWAP_LIMIT = 64 << 20


@dataclass(slots=True)
class Tail:
    """Reads what another process appends to a file, whole lines only."""

    path: Path
    _seen: int = 0

    def lines(self) -> list[str]:
        """Those that are new."""
        with self.path.open("rb") as file:
            file.seek(self._seen)
            whole, newline, _half = file.read().rpartition(b"\n")
        self._seen += len(whole) + len(newline)
        return whole.decode("utf-8", "replace").splitlines()


def trees_of(roots: Iterable[int]) -> set[int]:
    """These processes and all their descendants."""
    found = set(roots)
    for root in tuple(found):
        with contextlib.suppress(psutil.Error):
            found.update(child.pid for child in psutil.Process(root).children(recursive=True))
    return found


def mean(values: Iterable[float | None]) -> float | None:
    """Of what is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def faults(series: Sequence[Telemetry]) -> list[str]:
    """Why nothing can be measured on this host, whatever computes: memory, hypervisor, power."""
    swap = [sample.swap_used for sample in series if sample.swap_used is not None]
    found = ["swap is growing"] if swap and max(swap) - swap[0] > SWAP_LIMIT else []
    steal = mean(sample.steal for sample in series)
    if steal is not None and steal > STEAL_LIMIT:
        found.append(f"the hypervisor takes {steal:.0%} of the CPU, limit {STEAL_LIMIT:.0%}")
    return found + (["on battery"] if any(sample.on_battery for sample in series) else [])
