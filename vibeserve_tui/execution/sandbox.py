"""Which sandbox this machine offers, found out by trying it; for `doctor` and the run's header."""

from __future__ import annotations

from collections.abc import Sequence

from vibeserve_tui.execution.connection import Connection
from vibeserve_tui.execution.ladder import LADDER, SandboxReport, Tier, TierResult

__all__ = ["LADDER", "SandboxReport", "Tier", "TierResult", "probe"]


def probe(tiers: Sequence[Tier] = LADDER) -> SandboxReport:
    """Start a launcher only to hear which tier holds; SandboxError, with the fix, when none does."""
    connection = Connection("probe", tiers)
    connection.end()
    return connection.report
