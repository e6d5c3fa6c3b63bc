"""Instruments' Metal System Trace of a server that xctrace itself starts: when the GPU worked for it, and when it waited.

One row is one encoder; kernels have no names in this table. Attaching yields no rows, hence the launch. In the export a
repeated value is a `ref` to an earlier `id`, NULL is `<sentinel/>`, and a third or more of the rows belong to other
processes. Written for Xcode 26 (xctrace 16.0) from public descriptions; the parser runs on written samples of the encoding,
and nothing of it was compared with a Mac yet.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vibeserve_metal.machine import ask
from vibeserve_tui.backend import Availability, LaunchPlan, Window
from vibeserve_tui.profile_report import ProfileReport, covered

TRACE, INTERVALS, CONTENTS = "server.trace", "gpu.xml", "toc.xml"
SCHEMA = "metal-gpu-intervals"
COLUMNS = ("start", "duration", "channel-name", "process")
MIN_ROWS = 20
IDLE = 0.10
"""Of the span: the host keeps the GPU waiting. Start latency is queue depth and says nothing here."""


class Xctrace:
    id = "xctrace"
    title = "the GPU's timeline, by Instruments"

    def availability(self) -> Availability:
        # /usr/bin holds a shim of that name on every Mac; only xcrun knows whether Xcode stands behind it.
        if ask("xcrun", "--find", "xctrace"):
            return Availability(usable=True)
        fix = "install Xcode (the command line tools alone lack it), then sudo xcode-select -s /Applications/Xcode.app"
        return Availability(usable=False, reason="xctrace is not found", fix=fix)

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:
        trace = str(out / TRACE)
        export = ("xcrun", "xctrace", "export", "--input", trace)
        table = f'/trace-toc/run[@number="1"]/data/table[@schema="{SCHEMA}"]'
        return LaunchPlan(
            argv=(
                "xcrun", "xctrace", "record", "--template", "Metal System Trace", "--no-prompt", "--time-limit",
                f"{round(window.delay_s + window.seconds)}s", "--output", trace, "--launch", "--", *argv,
            ),
            finish=(
                (*export, "--toc", "--output", str(out / CONTENTS)),
                (*export, "--xpath", table, "--output", str(out / INTERVALS)),
            ),
            finish_s=300.0,
            max_bytes=2 << 30,
        )  # fmt: skip

    def parse(self, out: Path) -> ProfileReport:
        try:
            pid = launched(out / CONTENTS)
            with (out / INTERVALS).open("rb") as file:
                return report(encoders(file), pid)
        except OSError as error:
            raise ValueError(f"xctrace left no export: {error.strerror}") from error
        except ET.ParseError as error:
            raise ValueError(f"not an export of xctrace: {error}") from error


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    pid: str | None


def launched(contents: Path) -> str:
    """Pid of the process that the recording started."""
    process = ET.parse(contents).find(".//target/process[@type='launched']")  # noqa: S314 - written by a tool of this machine
    if process is None or not (pid := process.get("pid")):
        raise ValueError("the table of contents names no launched process")
    return pid


def report(rows: Iterator[Mapping[str, Cell | None]], pid: str) -> ProfileReport:
    """Raises ValueError for too few rows of our process: that is a failed profile, not an idle GPU."""
    spans, seen = [], 0
    for row in rows:
        seen += 1
        process, channel, start, took = (row[name] for name in ("process", "channel-name", "start", "duration"))
        if process and process.pid == pid and channel and channel.text == "Compute":
            if not start or not took:
                raise ValueError("an interval without start or duration")
            spans.append((float(start.text), float(start.text) + float(took.text)))
    if len(spans) < MIN_ROWS:
        raise ValueError(f"only {len(spans)} of {seen} rows are the server's, {MIN_ROWS} are needed")
    window = max(end for _, end in spans) - min(start for start, _ in spans)
    if window <= 0:
        raise ValueError("the encoders took no time")
    idle = 1 - covered(spans) / window
    return ProfileReport(
        tool="xctrace",
        window_s=window / 1e9,
        samples=len(spans),
        phases={"model": 1.0},
        operations={"Metal compute encoders": 1.0},
        hints=("sync_bound",) if idle > IDLE else (),
        device_idle=round(idle, 4),
    )


def encoders(file: IO[bytes]) -> Iterator[Mapping[str, Cell | None]]:
    """Rows of the table, one at a time: an export may have gigabytes. Raises ValueError when its form is another."""
    known: dict[str, Cell] = {}
    columns: list[str] = []
    for _, element in ET.iterparse(file, events=("end",)):  # noqa: S314
        if element.tag == "schema":
            columns = _columns(element)
        elif element.tag == "row":
            yield _row(element, columns, known)
            element.clear()
        elif mark := element.get("id"):
            known[mark] = Cell((element.text or "").strip(), element.findtext("pid"))


def _columns(schema: ET.Element) -> list[str]:
    if schema.get("name") != SCHEMA:
        raise ValueError(f"this is the table {schema.get('name')}, not {SCHEMA}")
    columns = [column.findtext("mnemonic") or "" for column in schema.findall("col")]
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ValueError(f"the table has no column {', '.join(missing)}")
    return columns


def _row(element: ET.Element, columns: Sequence[str], known: Mapping[str, Cell]) -> dict[str, Cell | None]:
    cells = list(element)
    if len(cells) != len(columns):
        raise ValueError(f"a row has {len(cells)} cells, the table {len(columns)} columns")
    row: dict[str, Cell | None] = {}
    for name, cell in zip(columns, cells, strict=True):
        mark = cell.get("ref") or cell.get("id")
        if cell.tag != "sentinel" and mark is not None and mark not in known:
            raise ValueError(f"a cell refers to {mark}, which was not there before")
        row[name] = None if cell.tag == "sentinel" or mark is None else known[mark]
    return row
