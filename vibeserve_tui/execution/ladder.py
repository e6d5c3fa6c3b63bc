"""The ladder of sandboxes: which tiers exist, and what to do about one that does not work here.

The first tier that passes its trial is used; if none does, nothing runs (`trial.py` is the judge).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vibeserve_tui.execution import bwrap


class Tier(StrEnum):
    BWRAP = "bwrap"
    """bubblewrap: everything that is not shown is absent."""
    UNSHARE = "unshare"
    """The same namespaces by system call, for machines without bubblewrap."""
    LANDLOCK = "landlock"
    """Files, TCP ports and signals by Landlock; the host's network and process numbers are shared.

    What is left open: names of files can be seen, modes and times of the user's own files changed; local
    processes reach a box's port, other machines for the second until a box that listens for them is killed.
    There is no POSIX shared memory.
    """
    SEATBELT = "seatbelt"
    """macOS: `sandbox-exec` with a profile of our own; files, network and signals. Never run on a Mac by its authors."""
    NONE = "none"
    """A clean environment and limits, no isolation: only when the operator asks for it by name."""

    @property
    def is_beside_host(self) -> bool:
        """Boxes share the host's network and process list, and cannot have mounts of their own."""
        return self in (Tier.LANDLOCK, Tier.SEATBELT, Tier.NONE)


LADDER = (Tier.SEATBELT,) if sys.platform == "darwin" else (Tier.BWRAP, Tier.UNSHARE, Tier.LANDLOCK)


@dataclass(frozen=True, slots=True)
class TierResult:
    tier: Tier
    works: bool
    detail: str
    fix: str


@dataclass(frozen=True, slots=True)
class SandboxReport:
    tier: Tier
    """The first of `tried` that works."""
    tried: tuple[TierResult, ...]


def refusal(tier: Tier, detail: str) -> TierResult:
    """A tier that cannot work here, with the remedy."""
    return TierResult(tier, works=False, detail=detail, fix=_fix(tier, detail))


_SYSCTL = Path("/proc/sys")
_SWITCHES = (  # value that forbids, and what to do about it
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "enable the AppArmor profile bwrap-userns-restrict, or set {}=0",
    ),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl {}=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl {}=15000"),
)


def _fix(tier: Tier, detail: str) -> str:
    if tier is Tier.SEATBELT:
        return "sandbox-exec is part of macOS: see that nothing has taken /usr/bin/sandbox-exec away"
    if tier is Tier.LANDLOCK:
        return "boot Linux 6.12 or later with `landlock` among its security modules (lsm=)"
    if tier is Tier.BWRAP and bwrap.find() is None:
        return "install bubblewrap 0.8 or later (apt install bubblewrap, dnf install bubblewrap)"
    if "Unknown option" in detail:
        return "update bubblewrap to 0.8 or later"
    for name, forbidding, remedy in _SWITCHES:
        path = _SYSCTL / name
        if path.exists() and path.read_text(encoding="ascii").strip() == forbidding:
            return remedy.format(name.replace("/", "."))
    return (
        "allow user namespaces; in a container: --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    )
