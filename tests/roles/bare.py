"""A workplace without tools: for tests of what becomes of an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui.agents.protocol import Brief
from vibeserve_tui.roles.workplace import Commission


@dataclass
class BareWorkplace:
    commissions: list[Commission] = field(default_factory=list)

    def brief(self, commission: Commission) -> Brief:
        self.commissions.append(commission)
        role = commission.role.value
        return Brief(f"You are the {role} of VibeServe", "", commission.words, (), commission.workspace, writable=False)

    def rehearsal(self, workspace: Path, label: str) -> None:
        return None
