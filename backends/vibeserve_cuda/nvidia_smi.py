"""What `nvidia-smi` says: which GPUs there are, who computes on them, and how a query is read. Never changes a setting.

A child that can be killed is asked, not the driver's library: without a driver that library may hang, and what hangs in
our own process cannot be ended. Cells may be `[N/A]` or `[Not Supported]` (unified memory, laptops): that is None, not 0.
Checked against written samples of the documented columns and a stand-in program; not yet against a GPU.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vibeserve_tui.errors import BackendError

PROGRAM = "nvidia-smi"
LIMIT_S = 1.8
"""Detection may take two seconds; without persistence mode the driver needs one of them to wake up."""
IDENTITY = (
    "index", "uuid", "name", "driver_version", "compute_cap", "memory.total", "memory.used", "mig.mode.current",
    "persistence_mode",
)  # fmt: skip
LIVE = (
    "utilization.gpu", "memory.used", "memory.total", "power.draw", "power.limit", "temperature.gpu", "clocks.sm",
    "clocks_event_reasons.active",
)  # fmt: skip
OLDER = {"clocks_event_reasons.active": "clocks_throttle_reasons.active"}
"""Fields that were renamed (driver 535): asked for by the new name, then by the old."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU. Memory in bytes."""

    index: int
    uuid: str
    name: str
    driver: str
    compute_capability: tuple[int, int]
    memory_total: int | None
    memory_used: int | None
    is_split: bool
    """MIG mode is on."""
    is_persistent: bool | None


def list_gpus() -> list[Gpu]:
    """Raises BackendError in one line when there is no driver, no GPU, or no answer."""
    return [_gpu(row) for row in _query("gpu", IDENTITY)]


def compute_processes(uuid: str) -> dict[int, int | None]:
    """Device memory in bytes by pid of every process that computes on this GPU. Raises BackendError."""
    found = {}
    for row in _query("compute-apps", ("pid", "used_gpu_memory"), uuid):
        if (pid := number(row["pid"])) is not None:
            found[int(pid)] = mebibytes(row["used_gpu_memory"])
    return found


def watch_command(uuid: str, interval_s: float) -> tuple[str, ...]:
    """A query that goes on until it is killed, with the field names that this driver knows. Raises BackendError."""
    fields: tuple[str, ...] = LIVE
    try:
        _query("gpu", fields, uuid)
    except BackendError:
        fields = tuple(OLDER.get(field, field) for field in LIVE)
        _query("gpu", fields, uuid)
    interval = str(round(interval_s * 1000))
    return (PROGRAM, "-i", uuid, f"--query-gpu={','.join(fields)}", "--format=csv", "-lms", interval)


def rows(text: str) -> list[Row]:
    """A `--format=csv` answer as rows by field name, without the units of the header."""
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = [_field(cell) for cell in next(reader, [])]
    return [dict(zip(header, line, strict=True)) for line in reader if len(line) == len(header)]


def _field(cell: str) -> str:
    return cell.partition(" [")[0].strip()


def number(cell: str | None) -> float | None:
    """'512.31 W' is 512.31; '[N/A]', '[Not Supported]' and what is missing are None."""
    found = re.match(r"\s*(-?\d+(?:\.\d+)?)", cell or "")
    return float(found[1]) if found else None


def mebibytes(cell: str | None) -> int | None:
    """A cell in MiB, in bytes."""
    value = number(cell)
    return None if value is None else int(value * 2**20)


def _gpu(row: Row) -> Gpu:
    major, _, minor = row["compute_cap"].partition(".")
    return Gpu(
        index=int(row["index"]),
        uuid=row["uuid"],
        name=row["name"],
        driver=row["driver_version"],
        compute_capability=(int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0),
        memory_total=mebibytes(row["memory.total"]),
        memory_used=mebibytes(row["memory.used"]),
        is_split=row["mig.mode.current"] == "Enabled",
        is_persistent={"Enabled": True, "Disabled": False}.get(row["persistence_mode"]),
    )


def _query(what: str, fields: Sequence[str], uuid: str = "") -> list[Row]:
    one = ("-i", uuid) if uuid else ()
    answer = _ask((*one, f"--query-{what}={','.join(fields)}", "--format=csv"))
    header = [_field(cell) for cell in answer.partition("\n")[0].split(",")]
    if header != list(fields):
        said = " ".join(answer.split())[:80] or "nothing"
        raise BackendError(f"nvidia-smi answered {said!r}, not the fields", fix="run nvidia-smi by hand")
    return rows(answer)


def _ask(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            (PROGRAM, *arguments), capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False
        )
    except FileNotFoundError:
        raise BackendError("no NVIDIA driver: nvidia-smi is not there", fix="install the NVIDIA driver") from None
    except subprocess.TimeoutExpired:
        fix = "run nvidia-smi by hand; a hung driver needs a reboot"
        raise BackendError(f"nvidia-smi did not answer in {LIMIT_S} s", fix=fix) from None
    except OSError as error:
        raise BackendError(f"nvidia-smi cannot be run: {error.strerror}", fix="repair the NVIDIA driver") from error
    if done.returncode:
        said = " ".join((done.stdout or done.stderr).split()) or f"exit code {done.returncode}"
        raise BackendError(f"nvidia-smi: {said[:160]}", fix=_fix_of(done.returncode))
    return done.stdout


def _fix_of(code: int) -> str:
    match code:
        case 2:
            return "update the NVIDIA driver to 510 or newer"
        case 6:
            return "this machine or container sees no GPU: start the container with --gpus all"
        case 9:
            return "load the kernel module (sudo modprobe nvidia), or reinstall the driver for this kernel"
        case _:
            return "repair the NVIDIA driver"
