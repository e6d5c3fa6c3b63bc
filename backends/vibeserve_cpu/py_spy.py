"""py-spy as a profiler: samples a server's Python stacks from outside, without its co-operation.

Its "raw" output is one line per distinct stack: `thread;outer (file:line);…;leaf (file:line) COUNT`. The innermost frame
that a rule knows names the phase; the leaf gets the self time. Samples that wait are left out: they make the gaps.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from vibeserve_tui.backend import Availability, ProfilePlan
from vibeserve_tui.profile_report import ProfileReport

RATE_HZ = 100
MIN_SAMPLES = 50
RAW_FILE = "py-spy-{seconds}s.raw"
"""The format does not say how long was sampled, so the name does."""
TOP = 25

# Innermost match wins. Files are matched by their end, functions by name.
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        ("wait", r"(^|\.)(wait|select|poll|epoll|accept|get|acquire|_worker|sleep) \((threading|selectors|queue|socket|.*futures/thread)"),
        ("sample", r"server/sampling\.py|logits_process|_sample \(transformers|stopping_criteria"),
        ("tokenize", r"server/tokens\.py|tokenizers|tokenization_"),
        ("kv_concat", r"cache_utils\.py|torch_cat|repeat_kv"),
        ("attention", r"sdpa_attention|scaled_dot_product|server/attention\.py"),
        ("schedule", r"server/(engine|scheduler|sequence)\.py"),
        ("model", r"modeling_|server/(model|runner|layers|decode|prefill|slots|static_decode|logits)\.py|server/native/|torch/nn/modules|generation/utils\.py"),
        ("http", r"server/(api|http\w*|protocol)\.py|uvicorn|fastapi|starlette|h11|httptools|asyncio/|json/"),
        ("numerics", r"torch/|numpy/"),
    )
)  # fmt: skip


class PySpy:
    id = "py-spy"
    title = "Python stacks, sampled from outside"

    def availability(self) -> Availability:
        if _executable():
            return Availability(usable=True)
        return Availability(usable=False, reason="not found", fix="pip install 'vibeserve-tui[cpu]'")

    def plan(self, pid: int, out: Path, seconds: float) -> ProfilePlan:
        whole = max(1, round(seconds))
        argv = (
            _executable() or "py-spy", "record", "--pid", str(pid), "--subprocesses", "--format", "raw", "--rate",
            str(RATE_HZ), "--duration", str(whole), "--nonblocking", "--output", str(out / RAW_FILE.format(seconds=whole)),
        )  # fmt: skip
        return ProfilePlan(argv=argv, timeout_s=seconds + 15)

    def parse(self, out: Path) -> ProfileReport:
        raw = next(out.glob(RAW_FILE.format(seconds="*")), None)
        if raw is None:
            raise ValueError("py-spy left no profile")
        return parse_raw(raw.read_text("utf-8", "replace"), RATE_HZ, float(raw.stem.removeprefix("py-spy-")[:-1]))


def parse_raw(text: str, rate_hz: int, window_s: float) -> ProfileReport:
    """Report of one raw file. Raises ValueError when it holds fewer than 50 busy samples."""
    phases: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            continue
        frames = stack.split(";")
        phase = _phase_of(frames)
        if phase == "wait":
            continue
        phases[phase] += int(count)
        operations[_short(frames[-1])] += int(count)
    busy = sum(phases.values())
    if busy < MIN_SAMPLES:
        raise ValueError(f"only {busy} busy samples, {MIN_SAMPLES} are needed")
    shares = {phase: round(n / busy, 4) for phase, n in phases.most_common()}
    return ProfileReport(
        tool="py-spy",
        window_s=window_s,
        samples=busy,
        phases=shares,
        operations={name: round(n / busy, 4) for name, n in operations.most_common(TOP)},
        hints=_hints(shares),
        # Threads that work at the same time are counted each: this is the least that the gaps can be.
        device_idle=round(max(0.0, 1 - busy / (rate_hz * window_s)), 4),
    )


def _phase_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for phase, pattern in _RULES:
            if pattern.search(frame):
                return phase
    return "other"


def _short(frame: str) -> str:
    """`forward (torch/nn/modules/linear.py:117)` without the line and the long path."""
    match = re.match(r"(.+) \((.+?)(?::\d+)?\)$", frame)
    if match is None:
        return frame
    return f"{match[1]} ({'/'.join(match[2].split('/')[-2:])})"


def _hints(phases: dict[str, float]) -> tuple[str, ...]:
    hints = []
    if phases.get("http", 0) + phases.get("tokenize", 0) > 0.25:
        hints.append("http_bound")
    if phases.get("schedule", 0) > 0.2:
        hints.append("scheduler_bound")
    if phases.get("model", 0) + phases.get("attention", 0) > 0.6:
        hints.append("model_bound")
    if phases.get("sample", 0) > 0.15:
        hints.append("sampling_bound")
    return tuple(hints)


def _executable() -> str | None:
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")
