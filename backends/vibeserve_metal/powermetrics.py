"""powermetrics beside a running server: how busy the GPU was, at which clock, at what heat. It needs root.

VibeServe never asks for root, so as a profiler of its own it works only where everything runs as root. A person can run the
printed command and have its output read all the same. The parser follows samples of the tool's text (macOS 26) in public
repositories; it was not compared with a Mac by this project.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from vibeserve_tui.backend import Availability, ProfilePlan
from vibeserve_tui.profile_report import ProfileReport

FILE = "powermetrics.txt"
INTERVAL_MS = 500
MIN_SAMPLES = 4
IDLE = 0.20
ACTIVE = re.compile(r"^GPU HW active residency:\s+([\d.]+)%", re.MULTILINE)
LEVEL = re.compile(r"^Current pressure level:\s+(\w+)", re.MULTILINE)
SAMPLE = re.compile(r"^\*\*\* Sampled system activity \(.*\) \(([\d.]+)ms elapsed\) \*\*\*", re.MULTILINE)


class Powermetrics:
    id = "powermetrics"
    title = "GPU residency and heat, by powermetrics"

    def availability(self) -> Availability:
        if shutil.which("powermetrics") is None:
            return Availability(usable=False, reason="powermetrics is not found", fix="it is part of macOS")
        if os.geteuid():
            fix = f"sudo powermetrics --samplers gpu_power,thermal -i {INTERVAL_MS} -n 12 --output-file {FILE}"
            return Availability(usable=False, reason="powermetrics needs root", fix=fix)
        return Availability(usable=True)

    def plan(self, pid: int, out: Path, seconds: float) -> ProfilePlan:  # noqa: ARG002 - it sees the machine, not a process
        count = max(MIN_SAMPLES, round(seconds * 1000 / INTERVAL_MS))
        argv = (
            # The long names of the first two differ between versions of macOS.
            "powermetrics", "--samplers", "gpu_power,thermal", "-i", str(INTERVAL_MS), "-n", str(count),
            "--output-file", str(out / FILE),
        )  # fmt: skip
        return ProfilePlan(argv=argv, timeout_s=count * INTERVAL_MS / 1000 + 10)

    def parse(self, out: Path) -> ProfileReport:
        try:
            text = (out / FILE).read_text("utf-8", "replace")
        except OSError as error:
            raise ValueError(f"powermetrics left no text: {error.strerror}") from error
        return report(text)


def report(text: str) -> ProfileReport:
    """Raises ValueError for fewer than 4 samples of the GPU."""
    active = [float(share) / 100 for share in ACTIVE.findall(text)]
    if len(active) < MIN_SAMPLES:
        raise ValueError(f"only {len(active)} samples of the GPU, {MIN_SAMPLES} are needed")
    busy = sum(active) / len(active)
    hints = [
        *(["sync_bound"] if 1 - busy > IDLE else []),
        *(["thermal_bound"] if set(LEVEL.findall(text)) - {"Nominal"} else []),
    ]
    return ProfileReport(
        tool="powermetrics",
        window_s=sum(float(took) for took in SAMPLE.findall(text)) / 1000,
        samples=len(active),
        phases={},
        operations={},
        hints=tuple(hints),
        device_idle=round(1 - busy, 4),
    )
