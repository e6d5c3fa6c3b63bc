"""Servers started under a profiler by hand: real processes, torch on the processor, and stand-ins for the tools."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.backends.stand_ins import live, nsys_export, nvidia_smi, program, tools
from tests.processes import python
from vibeserve_cuda.nsys import Nsys
from vibeserve_cuda.torch_trace import TorchTrace
from vibeserve_metal.mlx_steps import MlxCapture, MlxSteps
from vibeserve_tui.backend import Window
from vibeserve_tui.errors import BackendError, InputError, MeasurementError
from vibeserve_tui.profile_report import Quality
from vibeserve_tui.profiling import find_profiler, profile

__all__ = ["tools"]
SOON = Window(delay_s=0.1, seconds=0.3)
MLX = """\
import time
class metal:
    @staticmethod
    def start_capture(path): open(path, "w").close()
    @staticmethod
    def stop_capture(): pass
def eval(*arrays): time.sleep(0.005)
def get_peak_memory(): return 100
def get_active_memory(): return 50
"""


@pytest.mark.slow
def test_a_torch_server_is_traced_without_knowing_it(tmp_path: Path) -> None:
    serve = "import threading, torch\ndef engine():\n    a = torch.randn(64, 64)\n    while True: a = torch.softmax(a @ a, -1)\nthreading.Thread(target=engine, daemon=True).start()\nthreading.Event().wait()"
    found = profile(TorchTrace(), (sys.executable, "-c", serve), tmp_path / "out", SOON)
    assert found.tool == "torch"
    assert {"aten::mm", "aten::_softmax"} <= set(found.operations)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("tool", [MlxSteps(), MlxCapture()], ids=lambda tool: tool.id)
def test_evaluations_of_mlx_are_timed_without_the_server_knowing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: MlxSteps
) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    (tmp_path / "mlx" / "core.py").write_text(MLX)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    serve = "import time, mlx.core as mx\nwhile True:\n    mx.eval(1)\n    time.sleep(0.005)"
    found = profile(tool, (sys.executable, "-c", serve), tmp_path / "out", SOON)
    captured = tool.id == "mlx-capture"
    assert found.samples > 20 and 0.2 < found.phases["model"] < 0.8
    assert (found.quality is Quality.PERTURBED) == captured == (tmp_path / "out" / "server.gputrace").exists()


def test_a_hook_runs_the_one_that_it_stands_before(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    done = python(["-c", "pass"], PYTHONPATH=f"backends/vibeserve_cpu/inject:{tmp_path}")
    assert (done.out, done.err) == ("mine\n", "")


def test_a_tool_that_ends_as_ctrl_c_would_have_it_leaves_its_report(tools: Path, tmp_path: Path) -> None:
    """The stand-in starts the server, waits for its interrupt, and only then writes, as nsys does."""
    truth = tmp_path / "truth.sqlite"
    nsys_export(truth)
    program(tools, "nsys", f"""
import pathlib, shutil, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
out = next(word for word in sys.argv if word.startswith("--output=")).partition("=")[2]
if sys.argv[1] == "export":
    assert pathlib.Path(sys.argv[-1]).read_text() == "whole"
    shutil.copy({str(truth)!r}, out)
    sys.exit()
server = subprocess.Popen(sys.argv[sys.argv.index("serve.sh") :][1:])
try:
    server.wait()
except KeyboardInterrupt:
    pathlib.Path(out + ".nsys-rep").write_text("whole")
""")  # fmt: skip
    started = time.monotonic()
    pid_file = tmp_path / "pid"
    serve = (
        "serve.sh",
        sys.executable,
        "-c",
        f"import os, time, signal\nsignal.signal(2, signal.SIG_IGN)\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)",
    )
    found = profile(Nsys(), serve, tmp_path / "out", Window(delay_s=1.0, seconds=0.3))
    assert found.tool == "nsys" and time.monotonic() - started < 20
    assert not Path(f"/proc/{pid_file.read_text()}/cwd").exists(), "a server that ignores the interrupt is killed"


def test_a_server_that_ends_at_once_gives_no_profile_but_a_line(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="torch left no trace"):
        profile(TorchTrace(), (sys.executable, "-c", "pass"), tmp_path / "out", SOON)


@pytest.mark.parametrize(
    ("command", "message"),
    [((), "no server command"), (("/not/there",), "cannot be started")],
)
def test_what_cannot_be_started_is_told(tmp_path: Path, command: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile(TorchTrace(), command, tmp_path / "out", SOON)


def test_an_older_profile_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text("{}")
    with pytest.raises(InputError, match="not empty"):
        profile(TorchTrace(), ("true",), tmp_path, SOON)


def test_a_backend_without_its_device_or_tool_says_so(tools: Path) -> None:
    with pytest.raises(BackendError, match="backend metal is not usable here"):
        find_profiler("metal", "xctrace")
    with pytest.raises(InputError, match=r"backend cpu has no tool 'nsys'.*known: none"):
        find_profiler("cpu", "nsys")
    nvidia_smi(tools, live=live())
    assert find_profiler("cuda", "torch").id == "torch"
    with pytest.raises(InputError, match=r"did you mean .torch"):
        find_profiler("cuda", "torhc")


def test_the_program_ends_with_a_line_and_an_exit_code(tmp_path: Path) -> None:
    done = python(["-m", "vibeserve_tui.profiling", "metal", "xctrace", str(tmp_path), "--", "true"])
    assert done.code == 3 and done.err.startswith("backend metal is not usable here") and "Traceback" not in done.err
