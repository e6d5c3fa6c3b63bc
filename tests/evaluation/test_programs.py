"""The target's own programs, run for real but for the box."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from textwrap import dedent
from types import SimpleNamespace

import pytest

from tests.evaluation.toy_target import toy_target
from vibeserve_tui.evaluation.live_side import LiveRun, LiveSide
from vibeserve_tui.evaluation.programs import Ended, benchmark_stream, run_program
from vibeserve_tui.evaluation.records import StreamVoid
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Usage
from vibeserve_tui.inputs.target import LoadedTarget, load_target

PROGRAM = """
import json, sys
from pathlib import Path

arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("for people:", arguments)
Path(arguments["--out"]).write_text(json.dumps({"speed": float(arguments["--draw"]), "latency": {"p50": 3}}))
"""
DECLARED = """
[programs]
benchmark = { command = ["{python}", "{target}/own.py", "--out", "{out}", "--draw", "{draw}", "--at", "{url} {level}"] }
"""


@dataclass
class Neighbour:
    """Runs the program as a child of the test."""

    ran: list[tuple[str, BoxSpec]] = field(default_factory=list)
    address: tuple[str, int] = ("127.0.0.1", 8000)

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult:
        self.ran.append((name, spec))
        child = await asyncio.create_subprocess_exec(
            *spec.argv, cwd=spec.cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(child.communicate(), timeout_s)
        return BoxResult(child.returncode or 0, out, err, 0.1, 0.1, 1.0, None)


def program_target(folder: Path, program: str = PROGRAM) -> LoadedTarget:
    root = toy_target(folder).root
    path = root / "target.toml"
    text = path.read_text().replace('kind = "chat"', 'kind = "program"')
    path.write_text(text.replace("output_throughput", "speed") + DECLARED)
    (root / "own.py").write_text(dedent(program))
    return load_target(root)


async def test_a_program_is_told_where_the_server_is_and_what_to_draw(tmp_path: Path) -> None:
    target, server = program_target(tmp_path), Neighbour()
    ended = await run_program(target, server, "benchmark", draw=17, level="c1")
    ((name, spec),) = server.ran
    assert name == "benchmark"
    assert spec.argv[0] == sys.executable
    assert spec.argv[-1] == "http://127.0.0.1:8000 c1"
    assert set(spec.read_only) == {target.root, target.model_dir}
    assert ended.written is not None
    assert benchmark_stream(ended, target).values("c1") == {"speed": 17.0, "latency.p50": 3.0}


class Served(Neighbour):
    """As the gate knows it: what a window reads of a server beside its answers."""

    served = SimpleNamespace(ready_s=0.5)

    async def usage(self) -> Usage:
        return Usage(cpu_s=0.0, rss_mib=1.0, peak_rss_mib=1.0, processes=1, threads=1)

    async def counters(self) -> dict[str, int]:
        return {"batched_steps": 12}

    def require_alive(self) -> None:
        pass


@pytest.mark.parametrize(("proves", "known"), [(True, {"batched_steps": 12}), (False, {})])
async def test_a_change_may_show_that_it_was_active_under_a_program_of_the_targets_own(
    tmp_path: Path, proves: bool, known: dict[str, int]
) -> None:
    target = program_target(tmp_path)
    reference = object() if proves else None  # it is asked nothing: a program's answers are its own to check
    side = LiveSide("r1", "c" * 40, SimpleNamespace(target=target), Workload.load(target), {}, reference)  # type: ignore[arg-type]
    window = await LiveRun(side, Served()).window("c1", 5, 0)  # type: ignore[arg-type]
    assert window.values["speed"] == Random("5:0").getrandbits(31)
    assert side.counters == known


def ended(written: object, printed: str = "", returncode: int = 0, killed: str | None = None) -> Ended:
    content = written if isinstance(written, bytes) else json.dumps(written).encode()
    return Ended(BoxResult(returncode, printed.encode(), b"no data\n", 1.0, 1.0, 1.0, killed), content)


@pytest.fixture
def target(tmp_path: Path) -> LoadedTarget:
    return program_target(tmp_path)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (ended({"speed": 1.0}, killed="timeout"), "TIMEOUT"),
        (ended({"speed": 1.0}, returncode=3), "CONTRADICTION"),
        (ended({"speed": 1.0}, printed="Primary metric: speed = 1.5\n"), "CONTRADICTION"),
        (ended({"speed": 1.0}, printed="speed=1.5"), "CONTRADICTION"),
        (ended(b'{"speed": Infinity}'), "NON_FINITE_VALUE"),
        (ended(b'{"speed": 1' + b"0" * 400 + b"}"), "NON_FINITE_VALUE"),
        (ended(b'{"kind": "result", "values": {"speed": 1' + b"0" * 400 + b"}}"), "NON_FINITE_VALUE"),
        (ended(b""), "MISSING_HELLO"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_benchmark_that_contradicts_itself_measured_nothing(target: LoadedTarget, how: Ended, code: str) -> None:
    with pytest.raises(StreamVoid) as caught:
        benchmark_stream(how, target)
    assert caught.value.code == code


def test_what_it_prints_is_never_a_figure(target: LoadedTarget) -> None:
    told = ended({"speed": 1.0}, printed="Primary metric: other = 5\nPrimary metric: speed = 1.001\nspeed=n/a\n")
    assert benchmark_stream(told, target).values("c1") == {"speed": 1.0}


def test_without_a_file_of_its_own_its_output_is_the_record_stream(target: LoadedTarget) -> None:
    hello = {
        "kind": "hello",
        "protocol": 3,
        "role": "benchmark",
        "metrics": {"speed": {"unit": "tok/s", "direction": "max"}},
    }
    records: Sequence[object] = (hello, {"kind": "result", "label": "c1", "values": {"speed": 2.5}})
    printed = "\n".join(map(json.dumps, records)).encode()
    told = Ended(BoxResult(0, printed, b"", 1.0, 1.0, 1.0, None), None)
    assert benchmark_stream(told, target).values("c1") == {"speed": 2.5}


@pytest.mark.parametrize(
    "instead",
    [
        "out.symlink_to(Path(__file__).with_name('OBJECTIVE.md'))",
        "os.mkfifo(out)",
        "out.mkdir()",
        "out.write_bytes(b''); os.truncate(out, 1 << 40)",
    ],
    ids=["a link", "a pipe", "a folder", "a hole of a tebibyte"],
)
async def test_what_is_no_file_of_its_own_says_nothing(tmp_path: Path, instead: str) -> None:
    program = f"""
import os, sys
from pathlib import Path
out = Path(sys.argv[2])
{instead}
os.chdir(out.parent)
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
"""
    target = program_target(tmp_path, program)
    told = await run_program(target, server := Neighbour(), "benchmark", draw=1, level="c1")
    with pytest.raises(StreamVoid) as caught:
        benchmark_stream(told, target)
    assert caught.value.code in ("MISSING_HELLO", "TOO_LARGE", "MALFORMED_LINE")
    assert not server.ran[0][1].cwd.exists()
