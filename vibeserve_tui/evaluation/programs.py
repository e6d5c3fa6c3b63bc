"""A target's own checker and benchmark, each run as a process of its own beside the server.

They see the target and reach the server over the network; of the candidate's files, of keys and of the rest of the
network they see nothing.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vibeserve_tui import foreign_trees
from vibeserve_tui.evaluation.records import MAX_STREAM, Declared, Result, Stream, StreamVoid, read_stream
from vibeserve_tui.evaluation.strict_json import Json, is_finite
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Limits
from vibeserve_tui.inputs.target import LoadedTarget

RECORDS = "records.jsonl"
MAX_DETAIL = 200
"""Characters kept of what a program says about itself."""
Role = Literal["checker", "benchmark"]
LIMITS = Limits(memory_mib=4096, tasks=64)
PRIMARY = re.compile(r"^Primary metric:\s*([\w.]+)\s*=\s*(\S+)\s*$|^([\w.]+)=([-+.\deE]+)$", re.MULTILINE)
AGREEMENT = 0.005
"""Between the figure that a benchmark prints for people and the one that it writes down."""


class Beside(Protocol):
    """A server that is up, and a way to run something next to it."""

    @property
    def address(self) -> tuple[str, int]: ...

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it left in the file that it was told to write; None = it was told of none."""

    box: BoxResult
    written: bytes | None

    @property
    def last_words(self) -> str:
        lines = [line.strip() for line in self.box.stderr.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:MAX_DETAIL] if lines else "it does not say why"


async def run_program(target: LoadedTarget, server: Beside, role: Role, *, draw: int, level: str) -> Ended:
    """Once; its working folder is new and goes with it."""
    programs = target.spec.programs
    program = programs.checker if role == "checker" else programs.benchmark
    assert program is not None, "only a declared program is run"
    with _own_folder(role) as work:
        out = work / RECORDS
        words = {**_words(target, server, work, out), "draw": draw, "level": level}
        argv = tuple(_filled(argument, words) for argument in program.command)
        spec = BoxSpec(
            argv=argv,
            cwd=work,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            read_only=(target.root, target.model_dir),
            writable=(work,),
            limits=LIMITS,
        )
        ended = await server.beside(role, spec, program.timeout_s)
        told = any("{out}" in argument for argument in program.command)
        written = foreign_trees.read(work, RECORDS, most=MAX_STREAM + 1) or b""
        return Ended(ended, written if told else None)


@contextmanager
def _own_folder(role: Role) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"vibeserve-{role}-"))
    try:
        yield folder
    finally:
        with suppress(OSError):
            foreign_trees.remove(folder)


def _words(target: LoadedTarget, server: Beside, work: Path, out: Path) -> Mapping[str, object]:
    host, port = server.address
    return {
        "python": sys.executable,
        "url": f"http://{host}:{port}",
        "ws_url": f"ws://{host}:{port}",
        "port": port,
        "model_dir": target.model_dir,
        "target": target.root,
        "reference": target.file(target.spec.reference.partition(":")[0]),
        "out": out,
        "workspace": work,
    }


def _filled(argument: str, words: Mapping[str, object]) -> str:
    for name, value in words.items():
        argument = argument.replace(f"{{{name}}}", str(value))
    return argument


# ---- what a benchmark measured --------------------------------------------------------------------------------------


def benchmark_stream(ended: Ended, target: LoadedTarget) -> Stream:
    """Its figures; StreamVoid where they cannot be believed. Nothing that it prints for people is one."""
    if ended.box.killed is not None:
        raise StreamVoid("TIMEOUT" if ended.box.killed == "timeout" else "KILLED", f"it was ended: {ended.box.killed}")
    if ended.box.returncode != 0:
        raise StreamVoid("CONTRADICTION", f"exit status {ended.box.returncode}: {ended.last_words}")
    spec = target.spec
    metrics = {metric.name: (metric.unit, metric.direction.value) for metric in (*spec.metrics, *spec.guards)}
    declared = Declared(metrics, tuple(level.id for level in spec.levels))
    content = ended.box.stdout if ended.written is None else ended.written
    stream = _document(content) or read_stream(content, "benchmark", declared)
    if ended.written is not None:
        _check_printed(ended.box.stdout.decode(errors="replace"), stream)
    return stream


def _document(content: bytes) -> Stream | None:
    """One JSON object instead of records: its numbers by their dotted paths. That is what older benchmarks write."""
    try:
        found: Json = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "kind" in found:
        return None
    return Stream(results={"": Result(kind="result", values=dict(_numbers(found)))})


def _numbers(value: Json, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not is_finite(value):
            raise StreamVoid("NON_FINITE_VALUE", f"{path} is {value}")
        yield path, float(value)


def _check_printed(printed: str, stream: Stream) -> None:
    """A `Primary metric: NAME = VALUE` line that says something else than the file: one of the two is wrong."""
    written = stream.values("")
    for match in PRIMARY.finditer(printed):
        name, text = match[1] or match[3], match[2] or match[4]
        try:
            shown = float(text)
        except ValueError:
            continue
        if name in written and not math.isclose(shown, written[name], rel_tol=AGREEMENT, abs_tol=5e-3):
            raise StreamVoid("CONTRADICTION", f"it prints {name} = {shown:g} and writes {written[name]:g}")
