"""Compiles the kernel for this model on this CPU, once per build folder.

A compiler counts as present when a program it built has run. Flags name the instruction set, never -march=native: the
cached library is found again only by a machine that can run it.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from server.native.shape import Unavailable

HERE = Path(__file__).parent
SOURCES = ("kernel.cpp", "team.h", "vec.h", "probe.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++20", "-O3", "-fno-math-errno", "-ffp-contract=fast", "-pthread")
COMPILE_SECONDS = 60
PROBE_SECONDS = 10


@dataclass(frozen=True)
class Variant:
    """One instruction set: what the CPU must have and what the compiler is told."""

    name: str
    needs: frozenset[str]
    flags: tuple[str, ...]


VARIANTS = (
    Variant("avx512", frozenset({"avx512f", "fma"}), ("-mavx512f", "-mfma")),
    Variant("avx2", frozenset({"avx2", "fma"}), ("-mavx2", "-mfma")),
    Variant("neon", frozenset({"neon"}), ()),
    Variant("scalar", frozenset(), ("-DPORTABLE",)),
)
"""Fastest first."""


def cpu_features() -> frozenset[str]:
    if platform.machine() in {"arm64", "aarch64"}:
        return frozenset({"neon"})  # part of the base instruction set
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def choose_variant(features: frozenset[str], forced: str) -> Variant:
    """The fastest variant that this CPU runs, or the forced one."""
    if not forced:
        return next(variant for variant in VARIANTS if variant.needs <= features)
    named = {variant.name: variant for variant in VARIANTS}
    if forced not in named:
        raise Unavailable(f"VIBE_KERNEL={forced} is not one of {', '.join(named)}")
    if missing := named[forced].needs - features:
        raise Unavailable(f"VIBE_KERNEL={forced}, but this CPU has no {', '.join(sorted(missing))}")
    return named[forced]


def library(build_dir: Path, variant: Variant, defines: tuple[str, ...]) -> Path:
    """The compiled kernel, from the build folder if it is there."""
    flags = (*FLAGS, *variant.flags, *defines)
    path = build_dir / f"kernel-{variant.name}-{_key(flags)}.so"
    if not path.exists():
        try:
            build_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=build_dir) as workshop:
                _compile(Path(workshop), flags, path)
        except OSError as error:
            raise Unavailable(f"cannot build: {error}") from error
    return path


def _key(flags: tuple[str, ...]) -> str:
    machine = (sys.platform, platform.machine(), *sorted(cpu_features()))
    key = hashlib.sha256("\0".join((*flags, *machine)).encode())
    for name in SOURCES:
        key.update((HERE / name).read_bytes())
    return key.hexdigest()[:16]


def _compile(workshop: Path, flags: tuple[str, ...], path: Path) -> None:
    compiler = _working_compiler(workshop, flags)
    # Compiled beside its destination and renamed: two servers that start at once never load half a library.
    unfinished = workshop / "kernel.so"
    _run([compiler, *flags, "-shared", "-fPIC", str(HERE / "kernel.cpp"), "-o", str(unfinished)], COMPILE_SECONDS)
    os.replace(unfinished, path)


def _working_compiler(workshop: Path, flags: tuple[str, ...]) -> str:
    reasons = []
    for compiler in COMPILERS:
        if shutil.which(compiler):
            try:
                probe = workshop / "probe"
                _run([compiler, *flags, str(HERE / "probe.cpp"), "-o", str(probe)], COMPILE_SECONDS)
                _run([str(probe)], PROBE_SECONDS)
            except Unavailable as error:
                reasons.append(str(error))
            else:
                return compiler
    raise Unavailable("; ".join(reasons) or "no compiler")


def _run(argv: list[str], seconds: float) -> None:
    name = Path(argv[0]).name
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{name}: {next((line for line in said if 'error' in line), said[-1])}")
