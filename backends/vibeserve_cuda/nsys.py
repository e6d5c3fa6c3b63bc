"""Nsight Systems: the timeline of kernels and CUDA calls of a server that nsys itself starts.

The export to SQLite is read, not the output of `nsys stats`, whose report names and columns change between versions.
Tables without rows are absent. The raw report holds the whole environment, host name and process list: it stays in its
folder. The parser is checked against written files of schema 3.0.0 (nsys 2022.4); nsys was not run on a GPU yet.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from vibeserve_cuda.timeline import Timeline, Work, report
from vibeserve_tui.backend import Availability, LaunchPlan, Window
from vibeserve_tui.profile_report import ProfileReport

BASE = "nsys"
KERNELS, CALLS, COPIES = (f"CUPTI_ACTIVITY_KIND_{kind}" for kind in ("KERNEL", "RUNTIME", "MEMCPY"))
COPY_KINDS = {1: "HtoD", 2: "DtoH", 8: "DtoD", 10: "PtoP"}


class Nsys:
    id = "nsys"
    title = "kernels and CUDA calls, by Nsight Systems"

    def availability(self) -> Availability:
        if shutil.which("nsys"):
            return Availability(usable=True)
        return Availability(usable=False, reason="nsys is not found", fix="install NVIDIA Nsight Systems")

    def wrap(self, argv: Sequence[str], out: Path, window: Window) -> LaunchPlan:
        report_file = out / f"{BASE}.nsys-rep"
        return LaunchPlan(
            argv=(
                "nsys", "profile", "--trace=cuda,nvtx,osrt", "--sample=none", "--cpuctxsw=none", "--cuda-graph-trace=node",
                # Its default ends the server when the window does.
                "--kill=none", f"--delay={window.delay_s:g}", f"--duration={window.seconds:g}", "--force-overwrite=true",
                f"--output={out / BASE}", *argv,
            ),
            finish=(
                ("nsys", "export", "--type=sqlite", "--force-overwrite=true", f"--output={_database(out)}", str(report_file)),
            ),
        )  # fmt: skip

    def parse(self, out: Path) -> ProfileReport:
        if not _database(out).is_file():
            raise ValueError("nsys left no exported report")
        try:
            with closing(sqlite3.connect(f"file:{_database(out)}?mode=ro", uri=True)) as database:
                return report("nsys", timeline(database))
        except sqlite3.Error as error:
            raise ValueError(f"not a report that nsys exported: {error}") from error


def _database(out: Path) -> Path:
    return out / f"{BASE}.sqlite"


def timeline(database: sqlite3.Connection) -> Timeline:
    """Raises ValueError when there are no kernels, or those of several devices."""
    tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    if KERNELS not in tables:
        raise ValueError("no CUDA kernels in this report")
    devices = database.execute(f"select count(distinct deviceId) from {KERNELS}").fetchone()[0]  # noqa: S608 - a constant
    if devices > 1:
        raise ValueError(f"kernels of {devices} devices in this report")
    text = dict(database.execute("select id, value from StringIds"))
    return Timeline(
        kernels=[
            Work(text.get(name, str(name)), start, end)
            for start, end, name in database.execute(f"select start, end, shortName from {KERNELS}")  # noqa: S608
        ],
        copies=[
            Work(f"Memcpy {COPY_KINDS.get(kind, kind)}", start, end)
            for start, end, kind in database.execute(f"select start, end, copyKind from {COPIES}")  # noqa: S608
        ]
        if COPIES in tables
        else [],
        calls=[
            Work(text.get(name, str(name)), start, end)
            for start, end, name in database.execute(f"select start, end, nameId from {CALLS}")  # noqa: S608
        ]
        if CALLS in tables
        else [],
    )
