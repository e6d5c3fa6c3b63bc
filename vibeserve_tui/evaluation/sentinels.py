"""Is the machine quiet enough to measure, and was it while we did? The backend judges; this module only samples.

One sample covers the time since the one before, so a block is watched as a whole without a thread of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vibeserve_tui.backend import Backend, Device, GateCheck, Telemetry

LOOK_S = 1.0
"""How long the machine is watched before a measurement."""


@dataclass(slots=True)
class Sentinels:
    """`ready` before the first block, `trusted` after each; both may block for a moment and run in a thread."""

    backend: Backend
    device: Device
    _samples: Iterator[Telemetry]
    _last: Telemetry | None = None

    def ready(self) -> GateCheck:
        self._take()
        time.sleep(LOOK_S)
        return self.backend.ready(self.device, self._take())

    def trusted(self) -> GateCheck:
        return self.backend.trusted(self.device, self._take())

    def _take(self) -> list[Telemetry]:
        """The new sample, after the last one for what is judged by its growth."""
        before, self._last = self._last, next(self._samples)
        if before is None:
            return [self._last]
        # Shares of the earlier sample belong to another time.
        return [before.model_copy(update={"foreign_util": None, "steal": None, "pressure": None}), self._last]


@contextmanager
def watching(backend: Backend, device: Device) -> Iterator[Sentinels]:
    """Every child of this process is ours: launcher, servers, load generators, reference."""
    with backend.telemetry(device, lambda: (os.getpid(),)) as samples:
        yield Sentinels(backend, device, samples)
