"""What of the cuda backend holds on a real GPU: every promise tried once, in about three minutes.

    python benchmarks/gpu_check.py OUT

It needs an NVIDIA GPU that nobody else uses and a CUDA build of torch.
OUT gets `report.json` (each step with what was seen, or why it failed) and what the tools really printed, which may become
samples for the tests. Nothing is changed on the GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from vibeserve_cuda import nvidia_smi
from vibeserve_cuda.cuda import CudaBackend
from vibeserve_tui.backend import Device, Telemetry, Window
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.profiling import find_profiler, profile
from vibeserve_tui.testing import backend_conformance

WEIGHTS = 256 << 20
LOOK_S = 3.0
RELEASE_S = 20.0
BUSY = """\
import torch
a = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
held = torch.empty(2 << 30, dtype=torch.uint8, device="cuda")
print("busy", flush=True)
while True:
    a = torch.tanh(a @ a)
    torch.cuda.synchronize()
"""
DECODE = """\
import threading, torch
def decode():
    layers = [torch.randn(2048, 2048, device="cuda", dtype=torch.float16) for _ in range(24)]
    x = torch.randn(1, 2048, device="cuda", dtype=torch.float16)
    while True:
        for layer in layers:
            x = torch.nn.functional.silu(x @ layer) / 45
        x.argmax().item()
threading.Thread(target=decode, daemon=True).start()
threading.Event().wait()
"""


class Check:
    """Steps in order; one that fails says so in the report and does not keep the others from being tried."""

    def __init__(self, out: Path, device: Device) -> None:
        self.out = out
        self.device = device
        self.backend = CudaBackend()
        self.uuid = device.id.removeprefix("cuda:")
        self.report: dict[str, object] = {"date": time.strftime("%Y-%m-%d"), "device": device.model_dump()}

    def run(self) -> None:
        steps: tuple[Callable[[], object], ...] = (
            self.raw_answers, self.availability, self.conformance, self.idle, self.under_foreign_load, self.under_own_load,
            self.release_after_a_kill, self.ceilings, self.torch, self.nsys, self.ncu,
        )  # fmt: skip
        for step in steps:
            started = time.monotonic()
            try:
                seen = step()
            except (VibeServeError, ValueError, OSError, subprocess.SubprocessError) as error:
                seen = {"failed": f"{type(error).__name__}: {error}"}
            self.report[step.__name__] = {"took_s": round(time.monotonic() - started, 2), "seen": seen}
            (self.out / "report.json").write_text(json.dumps(self.report, indent=1, default=str) + "\n")
            print(f"{step.__name__}: {json.dumps(seen, default=str)[:200]}", flush=True)

    # ---- steps --------------------------------------------------------------------------------------------------------

    def raw_answers(self) -> object:
        """Samples of today's tools."""
        for name, query in (
            ("identity.csv", f"--query-gpu={','.join(nvidia_smi.IDENTITY)}"),
            ("live.csv", f"--query-gpu={','.join(nvidia_smi.LIVE)}"),
            ("apps.csv", "--query-compute-apps=pid,used_gpu_memory"),
        ):
            done = subprocess.run(
                ["nvidia-smi", query, "--format=csv"], capture_output=True, text=True, timeout=20, check=False
            )
            (self.out / name).write_text(done.stdout + done.stderr)
        return list(self.backend.candidate_env(self.device).devices)

    def availability(self) -> object:
        return self.backend.availability(self.device).model_dump()

    def conformance(self) -> object:
        return backend_conformance(self.backend)

    def idle(self) -> object:
        samples = self._look()
        return {"samples": [_told(s) for s in samples], "ready": self.backend.ready(self.device, samples).model_dump()}

    def under_foreign_load(self) -> object:
        """It has to be seen, and to be refused."""
        with busy(BUSY) as process:
            samples = self._look()
        check = self.backend.ready(self.device, samples)
        return {
            "seen": process.pid in (samples[-1].foreign_pids or ()),
            "refused": not check.ok,
            "reasons": check.reasons,
            "sample": _told(samples[-1]),
        }

    def under_own_load(self) -> object:
        """It must not pass for foreign."""
        with busy(BUSY) as process:
            samples = self._look(process.pid)
        check = self.backend.trusted(self.device, samples)
        return {"trusted": check.ok, "reasons": check.reasons, "warnings": check.warnings, "sample": _told(samples[-1])}

    def release_after_a_kill(self) -> object:
        with busy(BUSY) as process:
            held = nvidia_smi.compute_processes(self.uuid).get(process.pid)
        killed = time.monotonic()
        while process.pid in nvidia_smi.compute_processes(self.uuid):
            if time.monotonic() - killed > RELEASE_S:
                raise ValueError(f"memory is still held after {RELEASE_S:.0f} s")
        return {"held_bytes": held, "released_after_s": round(time.monotonic() - killed, 2)}

    def ceilings(self) -> object:
        return self.backend.ceilings(self.device, WEIGHTS).model_dump()

    def torch(self) -> object:
        return self._profile("torch")

    def nsys(self) -> object:
        return self._profile("nsys")

    def ncu(self) -> object:
        return self._profile("ncu")

    # ---- what they share ----------------------------------------------------------------------------------------------

    def _profile(self, tool: str) -> object:
        command, window = (sys.executable, "-c", DECODE), Window(delay_s=15.0, seconds=2.0)
        return profile(find_profiler("cuda", tool), command, self.out / tool, window).model_dump()

    def _look(self, *own: int) -> list[Telemetry]:
        with self.backend.telemetry(self.device, lambda: (os.getpid(), *own) if own else ()) as samples:
            first = next(samples)
            time.sleep(LOOK_S)
            return [first, next(samples)]


@contextmanager
def busy(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the GPU, killed without warning at the end. Raises ValueError when it cannot."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if not process.stdout.readline():
            lines = process.stderr.read().strip().splitlines() or ["no message"]
            raise ValueError(f"the GPU could not be used: {lines[-1]}")
        yield process
    finally:
        process.kill()
        process.communicate()


def _told(sample: Telemetry) -> dict[str, object]:
    return {name: value for name, value in sample.model_dump().items() if value is not None}


def main(out: Path) -> int:
    device = next(iter(CudaBackend().detect()), None)
    if device is None:
        state = CudaBackend().availability(None)
        print(f"{state.reason} (fix: {state.fix})", file=sys.stderr)
        return 3
    out.mkdir(parents=True, exist_ok=True)
    Check(out, device).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
