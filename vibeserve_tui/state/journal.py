"""The journal: one JSON object a line, append-only, checksummed, synced; the only truth about a run.

A line is checked as bytes, never as a re-serialised object: `,"crc":"xxxxxxxx"}` is appended last and covers everything
before it; `prev` repeats the checksum of the line before, so lines cannot be lost or reordered unnoticed. Records that
belong together are one group, written in one go and synced before anything relies on them; `more` counts the lines of
the group still to come, so a group counts only once its last line (`more` = 0) is whole.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vibeserve_tui import events as ev
from vibeserve_tui.errors import InputError, RunError, StateDamaged
from vibeserve_tui.state import durable

FIRST = "00000000"
_TAIL = len(',"crc":"00000000"}')
MAX_LINE = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """A checked line: its record, how many lines of its group are still to come, and its checksum."""

    record: ev.Record
    more: int
    crc: str


class BadLine(Exception):
    """These bytes are not the line that was written; the message says why."""


def encode_line(fields: dict[str, Any]) -> tuple[bytes, str]:
    """The line (with its newline) and its checksum, 8 lower-case hex digits."""
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    raw = body.replace("\x7f", "\\u007f").encode("ascii")
    crc = f"{zlib.crc32(raw):08x}"
    return raw[:-1] + b',"crc":"' + crc.encode() + b'"}\n', crc


def decode_line(raw: bytes, *, seq: int, prev: str) -> Line:
    """Check one line (without its newline) against its own checksum and its place; raises BadLine."""
    if len(raw) <= _TAIL or raw[-_TAIL:-10] != b',"crc":"' or raw[-2:] != b'"}':
        raise BadLine("not a journal line")
    crc = f"{zlib.crc32(raw[:-_TAIL] + b'}'):08x}"
    if raw[-10:-2] != crc.encode():
        raise BadLine("checksum does not match")
    fields = json.loads(raw)
    if fields["v"] > ev.SCHEMA_VERSION:
        raise InputError(
            f"written by a newer version (schema {fields['v']}, this one knows {ev.SCHEMA_VERSION})",
            fix="upgrade vibeserve-tui",
        )
    if fields["seq"] != seq or fields["prev"] != prev:
        raise BadLine(f"record {fields['seq']} stands where record {seq} belongs")
    try:
        event = ev.parse_event(fields["kind"], fields["data"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadLine(f"{fields['kind']}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    record = ev.Record.model_construct(
        seq=seq, ts_wall=fields["ts_wall"], ts_mono=fields["ts_mono"], boot_id=fields["boot_id"], event=event
    )
    return Line(record, fields["more"], crc)


def read_journal(path: Path) -> Iterator[ev.Record]:
    """All whole records of a journal, for clients that only read. An unfinished last line is "not yet", not an error.

    Raises StateDamaged naming file and line when a line that was once whole no longer is.
    """
    tail = Tail(path)
    while batch := tail.read():
        yield from batch
    tail.close()


class Tail:
    """Follows a journal that another process writes: each `read` returns the records that became whole since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise RunError(f"the journal cannot be read: {error.strerror}", where=str(path)) from error
        self._rest = b""
        self._seq = 0
        self._prev = FIRST
        self._group: list[ev.Record] = []

    def read(self, limit: int = 4 * 2**20) -> list[ev.Record]:
        """Records of the groups completed since the last call, from at most about `limit` bytes."""
        self._rest += self._file.read(limit)
        *lines, self._rest = self._rest.split(b"\n")
        records: list[ev.Record] = []
        for raw in lines:
            try:
                line = decode_line(raw, seq=self._seq + 1, prev=self._prev)
            except BadLine as error:
                where = f"{self._path}, line {self._seq + 1}"
                raise StateDamaged(str(error), where=where, fix=f"vibeserve doctor {self._path.parent}") from error
            self._seq, self._prev = line.record.seq, line.crc
            self._group.append(line.record)
            if not line.more:
                records += self._group
                self._group = []
        return records

    def close(self) -> None:
        self._file.close()


class Journal:
    """The writing end; exactly one process, the holder of the run's lock, may have it open."""

    def __init__(self, path: Path) -> None:
        """Open for appending; a torn last group is cut off and its bytes are kept beside the journal."""
        self._path = path
        self._seq, self._prev, keep = _recover(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._boot_id = _boot_id()
        self.cut_bytes = os.fstat(self._descriptor).st_size - keep
        if self.cut_bytes:
            with path.open("rb") as whole:
                whole.seek(keep)
                durable.write_atomic(path.with_name(f"journal.cut-{keep}"), whole.read())
            os.ftruncate(self._descriptor, keep)
            durable.sync(self._descriptor)
        durable.sync_directory(path.parent)

    def append(self, *events: ev.Event) -> list[ev.Record]:
        """Write the events as one group and sync them. They are facts once this returns."""
        lines, records = [], []
        now, mono = time.time(), time.monotonic()
        for more, event in zip(range(len(events) - 1, -1, -1), events, strict=True):
            self._seq += 1
            fields = {
                "v": ev.SCHEMA_VERSION, "seq": self._seq, "more": more, "ts_wall": round(now, 3),
                "ts_mono": round(mono, 6), "boot_id": self._boot_id, "kind": event.kind, "data": ev.dump_event(event),
                "prev": self._prev,
            }  # fmt: skip
            line, self._prev = encode_line(fields)
            lines.append(line)
            records.append(
                ev.Record(seq=self._seq, ts_wall=round(now, 3), ts_mono=mono, boot_id=self._boot_id, event=event)
            )
        try:
            durable.append(self._descriptor, b"".join(lines), "journal.append")
            durable.sync(self._descriptor, "journal.sync")
        except OSError as error:
            raise StateDamaged(f"the journal could not be written: {error.strerror}", where=str(self._path)) from error
        return records

    def close(self) -> None:
        os.close(self._descriptor)


def _recover(path: Path) -> tuple[int, str, int]:
    """Last good seq, its checksum, and how many bytes of the file are good. Raises StateDamaged on an inner fault."""
    data = path.read_bytes() if path.exists() else b""
    seq, prev, offset = 0, FIRST, 0
    good = (0, FIRST, 0)
    while offset < len(data):
        end = data.find(b"\n", offset)
        if end < 0:
            break
        try:
            line = decode_line(data[offset:end], seq=seq + 1, prev=prev)
        except BadLine as error:
            if not _sound_line_follows(data, end + 1):
                break
            raise StateDamaged(
                str(error), where=f"{path}, line {seq + 1}", fix=f"vibeserve doctor {path.parent}"
            ) from error
        seq, prev, offset = line.record.seq, line.crc, end + 1
        if not line.more:
            good = (seq, prev, offset)
    return good


def _sound_line_follows(data: bytes, offset: int) -> bool:
    """Does a later line carry its right checksum? Then the fault lies inside the journal, not at its torn end."""
    return any(
        len(raw) > _TAIL and raw[-10:-2] == f"{zlib.crc32(raw[:-_TAIL] + b'}'):08x}".encode()
        for raw in data[offset:].split(b"\n")
    )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # macOS has none in a file; the monotonic clock is then only comparable within one process
        return f"pid-{os.getpid()}-{time.time_ns()}"
