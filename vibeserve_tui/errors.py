"""Every error the app shows on purpose: what happened, where, and how to fix it.

VibeServeError                exit code
├── InputError        2       a command line, file or value given to us is not what we need
│   ├── TargetError           … a target's artifacts
│   ├── ProfileError          … a run profile or user configuration
│   ├── SkillError            … a skill, recipe or expression
│   └── RunError              … a run id or a run directory that only has to be read
├── EnvironmentFault  3       this machine lacks something, or something holds it
│   ├── BackendError          … the hardware or its driver
│   ├── SandboxError          … isolation for code nobody wrote by hand
│   └── LockHeld              … another engine owns the run
├── AgentError        1       what answers behind a role failed
│   └── BudgetSpent           … its next turn would go beyond a limit of money or tokens
├── WorkspaceError    1       git or the candidate's tree could not do what we asked
├── MeasurementError  1       a measurement cannot be believed or compared
├── RunPaused         4       the run stopped on purpose and can be resumed
│   ├── AgentsHalted          … no agent can go on until somebody acts: a budget, a key, a server
│   ├── DiskFull              … there is no room left; what is recorded is intact
│   └── LauncherLost          … the process that starts the others was killed (also a SandboxError)
└── StateDamaged      5       recorded state is corrupt; nothing was written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VibeServeError(Exception):
    """Base of all errors shown to a person as one line (plus a fix)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line} (fix: {self.fix})" if self.fix else line


class InputError(VibeServeError):
    exit_code = 2


class TargetError(InputError):
    pass


class ProfileError(InputError):
    pass


class SkillError(InputError):
    pass


class RunError(InputError):
    pass


class EnvironmentFault(VibeServeError):
    exit_code = 3


class BackendError(EnvironmentFault):
    pass


class SandboxError(EnvironmentFault):
    pass


class LockHeld(EnvironmentFault):
    pass


class AgentError(VibeServeError):
    pass


class BudgetSpent(AgentError):
    pass


class WorkspaceError(VibeServeError):
    pass


class MeasurementError(VibeServeError):
    pass


class RunPaused(VibeServeError):
    exit_code = 4


class AgentsHalted(RunPaused):
    pass


class DiskFull(RunPaused):
    pass


class LauncherLost(SandboxError, RunPaused):
    exit_code = 4


class StateDamaged(VibeServeError):
    exit_code = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
