"""The target's own accuracy checker: a user's program that a candidate must pass too.

Its exit status and the file that it writes decide; what it prints is for people. A checker that contradicts itself or
fails to run condemns nobody: then nothing was judged.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.exam import Exam, Findings, Server
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Limits
from vibeserve_tui.inputs.target_sections import Program

MAX_DETAIL = 200
"""Characters kept of what a checker says about a failed check."""
LIMITS = Limits(memory_mib=4096, tasks=64)


async def own_checker(exam: Exam, server: Server, program: Program) -> Findings:
    """Run it once; raises MeasurementError where it says nothing that can be believed."""
    with TemporaryDirectory(prefix="vibeserve-checker-") as folder:
        work = Path(folder)
        out = work / "records.jsonl"
        argv = _argv(exam, server, program, work, out)
        spec = BoxSpec(
            argv=argv,
            cwd=work,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            read_only=(exam.target.root, exam.target.model_dir),
            writable=(work,),
            limits=LIMITS,
        )
        ended = await server.beside("checker", spec, program.timeout_s)
        records = _records(out) if str(out) in " ".join(argv) else None
    return _judged(ended, records)


def _argv(exam: Exam, server: Server, program: Program, work: Path, out: Path) -> tuple[str, ...]:
    host, port = server.address
    reference = exam.target.file(exam.target.spec.reference.partition(":")[0])
    words: Mapping[str, object] = {
        "python": sys.executable,
        "url": f"http://{host}:{port}",
        "ws_url": f"ws://{host}:{port}",
        "port": port,
        "model_dir": exam.target.model_dir,
        "target": exam.target.root,
        "reference": reference,
        "out": out,
        "draw": exam.random("checker").getrandbits(31),
        "level": exam.target.spec.levels[0].id,
        "workspace": work,
    }
    argv = list(program.command)
    for name, value in words.items():
        argv = [argument.replace(f"{{{name}}}", str(value)) for argument in argv]
    return tuple(argv)


def _judged(ended: BoxResult, records: list[dict[str, Json]] | None) -> Findings:
    if ended.killed is not None:
        raise MeasurementError(f"the target's checker was ended: {ended.killed}")
    if ended.returncode not in (0, 1):
        raise MeasurementError(f"the target's checker failed: {_last_line(ended.stderr)}")
    passed = ended.returncode == 0
    findings = Findings()
    if records is None:
        findings.check(passed, f"it says no: {_last_line(ended.stderr)}")
        return findings
    for record in records:
        if record.get("kind") == "check":
            findings.check(record.get("passed") is True, f"{record.get('id')}: {record.get('detail')}"[:MAX_DETAIL])
    verdicts = [record.get("verdict") for record in records if record.get("kind") == "result"]
    if verdicts not in (["pass"], ["fail"]):
        raise MeasurementError("the target's checker wrote no single verdict, pass or fail")
    if passed != (verdicts == ["pass"]) or (passed and findings.fault):
        raise MeasurementError("the target's checker contradicts itself: its exit status, checks and verdict disagree")
    findings.check(passed, "it says no, and not why")
    return findings


def _records(path: Path) -> list[dict[str, Json]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise MeasurementError(f"what the target's checker wrote cannot be read: {error}") from error
    if not all(isinstance(record, dict) for record in records):
        raise MeasurementError("what the target's checker wrote is not one JSON object a line")
    return records


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:MAX_DETAIL] if lines else "it does not say why"
