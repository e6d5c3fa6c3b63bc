"""Stand-ins for the tools of NVIDIA and macOS: small programs that are put on PATH, and files in the tools' formats."""

from __future__ import annotations

import os
import plistlib
import random
import sqlite3
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
UUID = "GPU-6f2c0000-0000-0000-0000-000000000001"
H200 = (
    "index, uuid, name, driver_version, compute_cap, memory.total [MiB], memory.used [MiB], mig.mode.current, persistence_mode\n"
    f"0, {UUID}, NVIDIA H200, 580.159.03, 9.0, 143771 MiB, 512 MiB, Disabled, Enabled\n"
)
NO_PROCESSES = "pid, used_gpu_memory [MiB]\n"


def program(folder: Path, name: str, source: str) -> None:
    """A Python program that PATH finds under this name."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def nvidia_smi(folder: Path, identity: str = H200, live: str = "", apps: str = NO_PROCESSES) -> None:
    """Answers the three queries; the watching one goes on every 50 ms until it is killed."""
    source = f"""\
import sys, time
query = next(word for word in sys.argv if word.startswith("--query"))
header, _, rows = {live!r}.partition("\\n")
if "compute-apps" in query:
    print({apps!r}, end="")
elif "-lms" in sys.argv:
    print(header, flush=True)
    while True:
        print(rows, end="", flush=True)
        time.sleep(0.05)
elif "uuid" in query:
    print({identity!r}, end="")
elif all(field.split(" [")[0] in query for field in header.split(", ")):
    print(header + "\\n" + rows, end="")
else:
    print("Field is not a valid field to query.")
    sys.exit(2)
"""
    program(folder, "nvidia-smi", source)


def live(util: int = 97, clock: int = 1980, mask: int = 0, *, name: str = "clocks_event_reasons.active") -> str:
    head = f"utilization.gpu [%], memory.used [MiB], memory.total [MiB], power.draw [W], power.limit [W], temperature.gpu, clocks.sm [MHz], {name}"
    return f"{head}\n{util} %, 12034 MiB, 143771 MiB, 512.31 W, 700.00 W, 54, {clock} MHz, {mask:#018x}\n"


# ---- Nsight Systems -------------------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER, correlationId INTEGER, shortName INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, end INTEGER, correlationId INTEGER, nameId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, bytes INTEGER, copyKind INTEGER);
"""
KERNELS = (("gemv2T_kernel_val", 52_000), ("flash_fwd_splitkv_kernel", 9_000), ("vectorized_elementwise_kernel", 2_500))


def nsys_export(
    path: Path, *, steps: int = 4, layers: int = 4, launch_ns: int = 6_500, host_ns: int = 400_000
) -> dict[str, float]:
    """The columns of schema 3.0.0 that are read, for decode steps of a small model; returns what a parser must find."""
    draw, names = random.Random(1), {}
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)

    def text(value: str) -> int:
        return names.setdefault(value, len(names) + 1)

    now, first, busy, by_name = 10_000_000, None, 0, {}
    for step in range(steps):
        for _ in range(layers):
            for name, length in KERNELS:
                database.execute(
                    "insert into CUPTI_ACTIVITY_KIND_RUNTIME values (?,?,?,?)",
                    (now, now + launch_ns, step, text("cudaLaunchKernel_v7000")),
                )
                start = now + launch_ns
                end = start + int(length * draw.uniform(0.95, 1.05))
                database.execute(
                    "insert into CUPTI_ACTIVITY_KIND_KERNEL values (?,?,0,?,?)", (start, end, step, text(name))
                )
                first, busy, now = first or start, busy + end - start, end
                by_name[name] = by_name.get(name, 0) + end - start
        database.execute(
            "insert into CUPTI_ACTIVITY_KIND_RUNTIME values (?,?,?,?)",
            (now, now + 30_000, step, text("cudaStreamSynchronize_v3020")),
        )
        last = now
        now += host_ns
    database.executemany("insert into StringIds values (?, ?)", [(number, value) for value, number in names.items()])
    database.commit()
    database.close()
    assert first is not None
    return {"window": last - first, "busy": busy} | {name: spent / busy for name, spent in by_name.items()}


# ---- macOS ----------------------------------------------------------------------------------------------------------

SYSCTL = """\
machdep.cpu.brand_string: Apple M3 Pro
hw.memsize: 38654705664
hw.model: Mac15,7
iogpu.wired_limit_mb: 0
hw.perflevel0.physicalcpu: 6
hw.perflevel1.physicalcpu: 6
"""


def registry(util: int = 97, gpu_ns: Mapping[int, int] | None = None, cores: int | None = 18) -> bytes:
    """`ioreg -r -d 2 -c IOAccelerator -a`: the accelerator with its statistics and one client per process."""
    clients = [
        {"IOUserClientCreator": f"pid {pid}, python3.11", "AppUsage": [{"API": "Metal", "accumulatedGPUTime": spent}]}
        for pid, spent in (gpu_ns or {}).items()
    ]
    entry = {
        "IOClass": "AGXAcceleratorG15X",
        "model": "Apple M3 Pro",
        "PerformanceStatistics": {"Device Utilization %": util, "In use system memory": 2363801600, "recoveryCount": 0},
        "IORegistryEntryChildren": [{"IOObjectClass": "AGXDeviceUserClient"}, *clients],
    } | ({"gpu-core-count": cores} if cores else {})
    return plistlib.dumps([entry])


def mac(folder: Path, *, thermal: int = 0, saving: int = 0) -> None:
    """Answers what the backend asks macOS; `ioreg` prints the file `registry` beside it."""
    (folder / "registry").write_bytes(registry())
    answer = "import sys, pathlib\n"
    program(folder, "sysctl", f"{answer}print({SYSCTL!r}, end='')\nsys.exit(1)")
    program(
        folder, "ioreg", f"{answer}sys.stdout.buffer.write(pathlib.Path(__file__).with_name('registry').read_bytes())"
    )
    program(folder, "notifyutil", f"print('com.apple.system.thermalpressurelevel {thermal}')")
    program(
        folder,
        "pmset",
        f"print('System-wide power settings:\\nCurrently in use:\\n sleep                1\\n lowpowermode         {saving}')",
    )


COLUMNS = (
    ("start", "start-time"), ("duration", "duration"), ("channel-name", "gpu-channel-name"), ("frame-number", "gpu-frame-number"),
    ("start-latency", "duration"), ("process", "process"),
)  # fmt: skip
Encoder = tuple[int, int, str, int]
"""Start and duration in nanoseconds, channel, pid."""


def metal_intervals(encoders: Iterable[Encoder], columns: Sequence[tuple[str, str]] = COLUMNS) -> str:
    """An export of metal-gpu-intervals with its encoding: a value is written once with an id, then only referred to."""
    seen: dict[tuple[str, str], int] = {}
    count = 0

    def cell(tag: str, text: str, inner: str = "") -> str:
        nonlocal count
        if (tag, text) in seen:
            return f'<{tag} ref="{seen[tag, text]}"/>'
        count += 1
        seen[tag, text] = count
        if not inner:
            return f'<{tag} id="{count}" fmt="{text}">{text}</{tag}>'
        count += 1
        return (
            f'<{tag} id="{count - 1}" fmt="python ({text})"><{inner} id="{count}" fmt="{text}">{text}</{inner}></{tag}>'
        )

    heads = "".join(
        f"<col><mnemonic>{m}</mnemonic><name>{m}</name><engineering-type>{t}</engineering-type></col>"
        for m, t in columns
    )
    rows = [
        "<row>" + cell("start-time", str(start)) + cell("duration", str(took)) + cell("gpu-channel-name", channel)
        + "<sentinel/>" + cell("duration", "40000") + cell("process", str(pid), "pid") + "</row>"
        for start, took, channel, pid in encoders
    ]  # fmt: skip
    table = f'<schema name="metal-gpu-intervals">{heads}</schema>{"".join(rows)}'
    return f'<?xml version="1.0"?><trace-query-result><node xpath="//table">{table}</node></trace-query-result>'


def contents(pid: int) -> str:
    return f'<?xml version="1.0"?><trace-toc><run number="1"><info><target><process type="launched" return-exit-status="0" name="python3.11" pid="{pid}"/></target></info></run></trace-toc>'
