"""What this machine can do, found out by trying, and how to fix what is missing; and whether a run directory is sound.

A finding is a backend's `Requirement`: what was seen, what was expected, and the fix. Of a machine nothing is changed, of
a run only what loses nothing.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vibeserve_tui.backend import Requirement, discover
from vibeserve_tui.errors import EnvironmentFault, SandboxError, StateDamaged
from vibeserve_tui.execution.sandbox import Tier, probe
from vibeserve_tui.state.checkup import check_up
from vibeserve_tui.state.run_dir import RunDir

FREE_DISK = 2 << 30
OLDEST_GIT = (2, 30)
LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "uvicorn", "fastapi")
PROGRAM = '#include <cstdio>\nint main() { std::puts("works"); }\n'


def examine(runs: Path) -> Iterator[Requirement]:
    """All findings about this machine, the most important first; each comes as soon as it was tried."""
    yield from _basics()
    yield from _sandbox()
    yield from _backends()
    yield _libraries()
    yield _compiler()
    yield _disk(runs)


def _basics() -> Iterator[Requirement]:
    version = platform.python_version()
    yield Requirement(id="python", ok=True, severity="required", observed=version, expected="3.11 or newer")
    git = shutil.which("git")
    seen = _output([git, "--version"]) if git else "not found"
    found = re.search(r"(\d+)\.(\d+)", seen)
    known = found is not None and (int(found[1]), int(found[2])) >= OLDEST_GIT
    oldest = f"git {OLDEST_GIT[0]}.{OLDEST_GIT[1]} or newer"
    yield Requirement(id="git", ok=known, severity="required", observed=seen, expected=oldest, fix=f"install {oldest}")


def _sandbox() -> Iterator[Requirement]:
    expected = "a tier that denies what it must"
    try:
        report = probe()
    except (SandboxError, EnvironmentFault) as error:
        yield Requirement(
            id="sandbox", ok=False, severity="required", observed=error.what, expected=expected, fix=error.fix
        )
        return
    seen = f"{report.tier} holds" + (
        ", though never run on a Mac by its authors" if report.tier is Tier.SEATBELT else ""
    )
    yield Requirement(id="sandbox", ok=True, severity="required", observed=seen, expected=expected)
    for tried in report.tried:
        if not tried.works:
            yield Requirement(
                id=f"sandbox {tried.tier}", ok=False, severity="recommended", observed=tried.detail,
                expected=f"tier {tried.tier}", fix=tried.fix,
            )  # fmt: skip


def _backends() -> Iterator[Requirement]:
    for found in discover().values():
        if found.backend is None:
            yield Requirement(
                id=f"backend {found.name}", ok=False, severity="info", observed=found.error, expected="a loadable plugin",
                fix=f"repair or remove {found.distribution}",
            )  # fmt: skip
            continue
        device = next(iter(found.backend.detect()), None)
        state = found.backend.availability(device)
        cores = f", {device.compute_units} cores" if device and device.compute_units else ""
        seen = f"{device.name}{cores}" if device and state.usable else state.reason or "no device"
        yield Requirement(
            id=f"backend {found.name}", ok=state.usable, severity="info", observed=seen, expected="a usable device",
            fix=state.fix,
        )  # fmt: skip
        yield from (line.model_copy(update={"id": f"{found.name}: {line.id}"}) for line in state.requirements)


def _libraries() -> Requirement:
    missing = [name for name in LIBRARIES if not _installed(name)]
    have = ", ".join(f"{name} {_installed(name)}" for name in LIBRARIES[:2] if _installed(name))
    return Requirement(
        id="seed libraries",
        ok=not missing,
        severity="required",
        observed=f"missing: {', '.join(missing)}" if missing else have,
        expected="what the shipped seed servers import",
        fix="pip install 'vibeserve-tui[cpu]'",
    )


def _compiler() -> Requirement:
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    works = found is not None and _compiles(found)
    return Requirement(
        id="C++ compiler",
        ok=works,
        severity="recommended",
        observed=_output([found, "--version"]) if found and works else "none that compiles and runs a program",
        expected="a compiler, for native kernels; without one the search uses PyTorch alone",
        fix="apt install g++, or xcode-select --install",
    )


def _compiles(compiler: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "probe.cpp"), Path(folder, "probe")
        source.write_text(PROGRAM, "utf-8")
        try:
            subprocess.run([compiler, str(source), "-o", str(binary)], check=True, capture_output=True, timeout=30)
            return b"works" in subprocess.run([str(binary)], check=True, capture_output=True, timeout=5).stdout
        except (OSError, subprocess.SubprocessError):
            return False


def _disk(runs: Path) -> Requirement:
    place = next(path for path in (runs, *runs.parents) if path.exists())
    free = shutil.disk_usage(place).free
    return Requirement(
        id="disk",
        ok=free >= FREE_DISK,
        severity="required",
        observed=f"{free / 2**30:.1f} GiB free at {place}",
        expected="2 GiB for runs",
        fix="free some space, or choose another --runs-dir",
    )


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _output(command: list[str | None]) -> str:
    try:
        done = subprocess.run(
            [word for word in command if word], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    return done.stdout.splitlines()[0] if done.stdout else "says nothing"


# ---- a run directory ----------------------------------------------------------------------------------------------


def examine_run(run: RunDir) -> list[str]:
    """What is to be said about a run directory; what may be repaired is. Raises StateDamaged for what cannot be."""
    findings = check_up(run)
    lines = [*(f"✓ {line}" for line in findings.sound), *(f"+ repaired: {line}" for line in findings.repaired)]
    if findings.lost:
        more = f" (and {len(findings.lost) - 1} more)" if len(findings.lost) > 1 else ""
        raise StateDamaged(
            f"{findings.lost[0]}{more}", where=run.name,
            fix="nobody can repair this: vibeserve report shows what is left, a backup may have the rest",
        )  # fmt: skip
    return [f"{run.name}:", *lines]
