"""What is known of one process, on any system."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    name: str
    state: str
    own_cpu_s: float
    reaped_cpu_s: float
    """Time of children that ended and were waited for."""
    threads: int
    rss_mib: float
    high_water_mib: float
