"""The journal: one JSON object a line, append-only, checksummed, synced; the only truth about a run.

A line is checked as bytes, never as a re-serialised object: `,"crc":"xxxxxxxx"}` is appended last and covers everything
before it; `prev` repeats the checksum of the line before, so lines cannot be lost or reordered unnoticed. Records that
belong together are one group, written in one go and synced before anything relies on them; `grp` is the number of its
first line and `more` counts the lines still to come, so a group counts only once its last line (`more` = 0) is whole.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vibeserve_tui import events as ev
from vibeserve_tui.errors import DiskFull, InputError, RunError, StateDamaged
from vibeserve_tui.state import durable, redaction

FIRST = "00000000"
END_OF_TIME = 253_402_300_800
"""Seconds until the year 10,000, of which no clock and no calendar knows."""
_TAIL = len(',"crc":"00000000"}')


class _Header(BaseModel):
    """The members that every line has; `crc` is looked at as bytes."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    v: int = Field(le=ev.SCHEMA_VERSION)
    seq: int
    more: int = Field(ge=0)
    ts_wall: float = Field(ge=0, lt=END_OF_TIME)
    ts_mono: float
    boot_id: str
    kind: str
    data: dict[str, Any]
    prev: str


class Line(NamedTuple):
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
    try:
        header = _header_of(raw)
        event = ev.parse_event(header.kind, header.data)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not a record: {_first_fault(error)}") from error
    if header.seq != seq or header.prev != prev:
        raise BadLine(f"record {header.seq} stands where record {seq} belongs")
    record = ev.Record(seq=seq, ts_wall=header.ts_wall, ts_mono=header.ts_mono, boot_id=header.boot_id, event=event)
    return Line(record, header.more, crc)


def _header_of(raw: bytes) -> _Header:
    """In one step, which halves the time to open a long run. Raises ValueError, and InputError for a newer version."""
    try:
        return _Header.model_validate_json(raw)
    except ValidationError:
        # The other parser says what is wrong, and takes half a surrogate pair, which output of a program may hold.
        fields = json.loads(raw)
        _refuse_newer(fields)
        return _Header.model_validate(fields)


def _refuse_newer(fields: object) -> None:
    version = fields.get("v") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        raise ValueError("v: no schema version")  # noqa: TRY004 - a fault of the text, like every other one
    if version > ev.SCHEMA_VERSION:
        raise InputError(
            f"written by a newer version (schema {version}, this one knows {ev.SCHEMA_VERSION})",
            fix="upgrade vibeserve-tui",
        )


def _first_fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def read_journal(path: Path) -> Iterator[ev.Record]:
    """All whole records of a journal, for clients that only read. An unfinished last line is "not yet", not an error.

    Raises StateDamaged naming file and line when a line that was once whole no longer is.
    """
    tail = Tail(path)
    while batch := tail.read():
        yield from batch
    tail.close()


class Tail:
    """Follows a journal that another process writes: each `read` returns the records that became whole since.

    It remembers no byte of an unfinished group: the engine's successor may cut it off and write something else there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = durable.open_plain(path)
        except OSError as error:
            raise RunError(f"the journal cannot be read: {error.strerror}", where=str(path)) from error
        self._offset = 0
        self._seq = 0
        self._prev = FIRST
        self.salvaged: list[ev.Record] = []
        """After StateDamaged: what is good between the last records returned and the damage."""

    def read(self, limit: int = 4 * 2**20) -> list[ev.Record]:
        """Records of the groups completed since the last call, from at most about `limit` bytes."""
        self._file.seek(self._offset)
        data = self._file.read(limit)
        records = self._whole_groups(data)
        if not records and len(data) == limit:  # one group larger than that
            return self.read(2 * limit)
        return records

    def _whole_groups(self, data: bytes) -> list[ev.Record]:
        seq, prev, offset = self._seq, self._prev, 0
        group: list[ev.Record] = []
        whole: list[ev.Record] = []
        while (end := data.find(b"\n", offset)) >= 0:
            try:
                line = decode_line(data[offset:end], seq=seq + 1, prev=prev)
            except BadLine as error:
                self.salvaged = whole
                where = f"{self._path}, line {seq + 1}"
                raise StateDamaged(str(error), where=where, fix=f"vibeserve doctor {self._path.parent}") from error
            seq, prev = line.record.seq, line.crc
            group.append(line.record)
            offset = end + 1
            if not line.more:
                whole += group
                group = []
                self._seq, self._prev = seq, prev
                done = offset
        if whole:
            self._offset += done
        return whole

    def close(self) -> None:
        self._file.close()


class Journal:
    """The writing end; exactly one process, the holder of the run's lock, may have it open."""

    def __init__(self, path: Path) -> None:
        """Open for appending; a torn last group is cut off and its bytes are kept beside the journal."""
        self._path = path
        self.recovered, self._prev, keep = _recover(path)
        """What was recorded before; whoever opened the journal folds it and lets it go."""
        self._seq = len(self.recovered)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._boot_id = _boot_id()
        self._dead = False
        self.cut_bytes = os.fstat(self._descriptor).st_size - keep
        if self.cut_bytes:
            with path.open("rb") as whole:
                whole.seek(keep)
                durable.write_atomic(path.with_name(f"journal.cut-{keep}"), whole.read())
            durable.truncate(self._descriptor, keep)
            durable.sync(self._descriptor)
        durable.sync_directory(path.parent)

    def append(self, *events: ev.Event) -> list[ev.Record]:
        """Write the events as one group and sync them. They are facts once this returns.

        Raises DiskFull when there is no room (nothing of the group is left behind) and StateDamaged for everything
        worse, after which this journal takes nothing any more.
        """
        if self._dead:
            raise StateDamaged("an earlier write failed; nothing more is recorded", where=str(self._path))
        seq, prev = self._seq, self._prev
        lines, records = [], []
        now, mono = round(time.time(), 3), round(time.monotonic(), 6)
        for more, event in zip(range(len(events) - 1, -1, -1), events, strict=True):
            seq += 1
            fields = {
                "v": ev.SCHEMA_VERSION, "seq": seq, "grp": self._seq + 1, "more": more, "ts_wall": now,
                "ts_mono": mono, "boot_id": self._boot_id, "kind": event.kind, "data": ev.dump_event(event),
                "prev": prev,
            }  # fmt: skip
            line, prev = encode_line(fields)
            if _holds_secret(line):
                event = ev.parse_event(event.kind, redaction.redact_value(fields["data"]))
                line, prev = encode_line({**fields, "data": ev.dump_event(event)})
            lines.append(line)
            records.append(ev.Record(seq=seq, ts_wall=now, ts_mono=mono, boot_id=self._boot_id, event=event))
        self._write(b"".join(lines))
        # Only now: an event that cannot be encoded or written must not leave a gap in the numbers.
        self._seq, self._prev = seq, prev
        return records

    def _write(self, data: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            durable.append(self._descriptor, data, "journal.append")
        except OSError as error:
            fault = self._fault_of(error)
            self._dead = isinstance(fault, StateDamaged) or not self._cut_back_to(size)
            raise fault from error
        try:
            durable.sync(self._descriptor, "journal.sync")
        except OSError as error:
            self._dead = True  # the kernel may have dropped what it could not write: a second try would lie
            raise self._fault_of(error) from error

    def _fault_of(self, error: OSError) -> DiskFull | StateDamaged:
        cannot = StateDamaged(f"the journal could not be written: {error.strerror}", where=str(self._path))
        return durable.fault_of(error, self._path) or cannot

    def _cut_back_to(self, size: int) -> bool:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


def _holds_secret(line: bytes) -> bool:
    text = line.decode("ascii")
    return redaction.redact(text) != text


def _recover(path: Path) -> tuple[list[ev.Record], str, int]:
    """All records of whole groups, the last one's checksum, and how many bytes of the file that is.

    Raises StateDamaged on a fault before the last group.
    """
    data = _read(path)
    seq, prev, offset = 0, FIRST, 0
    records: list[ev.Record] = []
    group: list[ev.Record] = []
    good = (FIRST, 0)
    while offset < len(data):
        end = data.find(b"\n", offset)
        if end < 0:
            break
        try:
            line = decode_line(data[offset:end], seq=seq + 1, prev=prev)
        except BadLine as error:
            # A line with its right checksum was written like this: it is no torn end, whatever is wrong with it.
            torn = not _is_sound(data[offset:end])
            if torn and not _another_group_follows(data, end + 1, group=len(records) + 1):
                break
            raise StateDamaged(
                str(error), where=f"{path}, line {seq + 1}", fix=f"vibeserve doctor {path.parent}"
            ) from error
        seq, prev, offset = line.record.seq, line.crc, end + 1
        group.append(line.record)
        if not line.more:
            records += group
            group, good = [], (prev, offset)
    return records, *good


def _read(path: Path) -> bytes:
    """Nothing before a run's first record. Raises StateDamaged for what is no file."""
    try:
        return durable.plain_file(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StateDamaged(f"the journal cannot be read: {error.strerror}", where=str(path)) from error


def _another_group_follows(data: bytes, offset: int, *, group: int) -> bool:
    """Is there a sound line of another group than this one? Then the fault lies inside the journal, not at its end.

    Lines of the last group may well be sound behind one that is not: a power cut need not keep the order of a write.
    """
    for raw in data[offset:].split(b"\n"):
        if _is_sound(raw):
            try:
                if json.loads(raw)["grp"] != group:
                    return True
            except (ValueError, KeyError, TypeError, RecursionError):
                return True
    return False


def _is_sound(raw: bytes) -> bool:
    return len(raw) > _TAIL and raw[-10:-2] == f"{zlib.crc32(raw[:-_TAIL] + b'}'):08x}".encode()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # macOS has none in a file; the monotonic clock is then only comparable within one process
        return f"pid-{os.getpid()}-{time.time_ns()}"
