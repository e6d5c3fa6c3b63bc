"""What the engine and its launcher say to each other: JSON lines, open files beside them.

The engine sends one Setup, then requests; the launcher one Hello, then one Reply for each request
and one Exit for each box, in the order in which things happen.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from vibeserve_tui.execution.box import SpecJson

_MAX_FILES = 16
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has no such flag; keepers close what they do not need
_READ_SIZE = 1 << 16


class Setup(TypedDict):
    run: str
    scratch: str
    tiers: list[str]
    prefixes: list[str]
    package: str
    seatbelt: str
    """The program of that tier."""


class TierJson(TypedDict):
    tier: str
    works: bool
    detail: str
    fix: str


class Hello(TypedDict):
    tier: str | None
    tried: list[TierJson]


class OpenPod(TypedDict):
    op: Literal["open_pod"]
    id: int
    pod: int


class ClosePod(TypedDict):
    op: Literal["close_pod"]
    id: int
    pod: int


class Start(TypedDict):
    """Comes with three open files: stdin, stdout, stderr."""

    op: Literal["start"]
    id: int
    box: int
    pod: int | None
    spec: SpecJson
    timeout_s: float | None


BoxOp = Literal["kill", "suspend", "resume", "terminate", "usage", "processes", "listeners"]


class Act(TypedDict):
    op: BoxOp
    id: int
    box: int
    why: str


Request = OpenPod | ClosePod | Start | Act


class UsageJson(TypedDict):
    cpu_s: float
    rss_mib: float
    peak_rss_mib: float
    processes: int
    threads: int


class ProcessJson(TypedDict):
    pid: int
    parent: int
    command: str
    cpu_s: float
    session: int


class ListenerJson(TypedDict):
    pid: int
    protocol: str
    port: int


class Reply(TypedDict, total=False):
    """To the request of the same id; which members it has follows from the request."""

    id: int
    error: str
    over: bool
    """The box has ended; there is nothing to do or see."""
    port: int
    pid: int
    usage: UsageJson
    processes: list[ProcessJson]
    listeners: list[ListenerJson]


class Exit(TypedDict):
    box: int
    returncode: int
    ran: bool
    """False: the box could not be built; `detail` or the command's output says why."""
    detail: str
    wall_s: float
    cpu_s: float
    peak_rss_mib: float
    killed: str | None


class Channel:
    """One end of a Unix stream socket. Sending blocks; receiving takes what is there."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._text = b""
        self.files: deque[int] = deque()
        """Received and not yet taken, in the order of the messages that they belong to."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Mapping[str, object], files: Sequence[int] = ()) -> None:
        line = json.dumps(message).encode() + b"\n"
        # Files travel with the first byte, so they are never later than their message.
        sent = socket.send_fds(self._socket, [line], list(files)) if files else 0
        self._socket.sendall(line[sent:])

    def receive(self) -> list[bytes]:
        """Complete lines that have arrived; blocks for the first byte, raises EOFError at the end."""
        data, files, _, _ = socket.recv_fds(self._socket, _READ_SIZE, _MAX_FILES, _CLOSE_ON_EXEC)
        if not data:
            raise EOFError
        self.files.extend(files)
        *lines, self._text = (self._text + data).split(b"\n")
        return lines

    def first(self) -> bytes:
        """The greeting, after which nothing is sent before it is answered."""
        while not (lines := self.receive()):
            pass
        return lines[0]
