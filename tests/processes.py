"""The command line as a real process, with what it said and the CPU time it took."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str
    cpu_s: float


def python(arguments: Sequence[str], *, cwd: Path = ROOT, **environment: str) -> Done:
    """Run this interpreter to its end. Names in `environment` replace those of the test's own."""
    before = _children_cpu_s()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr, _children_cpu_s() - before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def vibeserve(*arguments: str, cwd: Path = ROOT, **environment: str) -> Done:
    return python(["-m", "vibeserve_tui", *arguments], cwd=cwd, **environment)
