"""Serve one commit of a candidate: build it, start it in a pod of its own, wait until it is ready.

The candidate sees its checkout (read-only), the weights (read-only), its build folder and nothing
else; its environment is exactly the contract below. It never outlives the `async with`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Killed, Limits, Usage
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.pod import Pod
from vibeserve_tui.execution.process import Process
from vibeserve_tui.execution.readiness import Readiness, wait_until_ready

SERVER = "server"
"""The name of the candidate's box in its pod."""
_PORTS = 3
_TAKEN = "address already in use"
_TAIL_LINES = 200
_TAIL_BYTES = 256 << 10


class Failure(StrEnum):
    """How a candidate failed to become a server."""

    BUILD_FAILED = "build_failed"
    EXITED = "exited"
    KILLED = "killed"
    """By a limit: the message names it."""
    NOT_LISTENING = "not_listening"
    NO_ANSWER = "no_answer"
    """It accepts connections and says nothing in HTTP."""
    NO_HEALTH = "no_health"
    """It answers, but never with 200."""
    BAD_HEALTH = "bad_health"
    """200, but not a JSON object."""


class CandidateError(VibeServeError):
    """The candidate's own failure: it costs an attempt and never stops a run."""

    def __init__(self, reason: Failure, what: str, log_tail: str) -> None:
        super().__init__(what)
        self.reason = reason
        self.log_tail = log_tail
        """The last 200 lines, undecodable bytes replaced, otherwise as the candidate wrote them."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    build_s: float = 180.0
    ready_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One commit and how it is to be started; `{python}` in a command is this interpreter."""

    commit: str
    checkout: Path
    """A fresh one; also the working directory."""
    command: tuple[str, ...]
    model_dir: Path
    build_dir: Path
    """Stays from build to start, and between starts of the same commit."""
    log: Path
    backend: str
    build_command: tuple[str, ...] = ()
    build_dir_closed: bool = False
    """Read-only: only what the first start left there before it was ready may be used."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The backend's and the target's additions; they never replace a name of the contract."""
    devices: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = Timeouts()
    start_elsewhere: bool = False
    """The server's cores are in use: start on as many others, and move over once ready."""


@dataclass(frozen=True, slots=True)
class Served:
    """A candidate that answered its health check, alive until the context ends."""

    pod: Pod
    process: Process
    log: Path
    ready_s: float
    health: Mapping[str, object]

    @property
    def host(self) -> str:
        return self.pod.host

    @property
    def port(self) -> int:
        return self.pod.port

    async def usage(self) -> Usage:
        return await self.pod.usage(SERVER)

    async def suspend(self) -> None:
        await self.pod.suspend(SERVER)

    async def resume(self) -> None:
        await self.pod.resume(SERVER)

    def log_tail(self) -> str:
        return _log_tail(self.log)


async def build(launcher: Launcher, candidate: Candidate) -> BoxResult | None:
    """Run the build command, if there is one, without any network; once per commit is enough."""
    if not candidate.build_command:
        return None
    spec = _spec(candidate, candidate.build_command, {})
    result = await launcher.run(spec, timeout_s=candidate.timeouts.build_s)
    if result.returncode != 0:
        why = f"was killed ({result.killed})" if result.killed else f"ended with exit code {result.returncode}"
        raise CandidateError(Failure.BUILD_FAILED, f"the build {why}", _log_tail(candidate.log))
    return result


@contextlib.asynccontextmanager
async def serve(launcher: Launcher, candidate: Candidate) -> AsyncIterator[Served]:
    """A ready server, or CandidateError; in the end its whole tree is killed."""
    served = await _started(launcher, candidate)
    try:
        yield served
    finally:
        await served.pod.close()


async def _started(launcher: Launcher, candidate: Candidate) -> Served:
    """Beside the host's own processes one of them may take the port that was free: that is no fault of the candidate's."""
    for _ in range(_PORTS - 1 if launcher.report.tier.is_beside_host else 0):
        try:
            return await _start(launcher, candidate)
        except CandidateError as error:
            if error.reason is not Failure.EXITED or _TAKEN not in error.log_tail.lower():
                raise
    return await _start(launcher, candidate)


async def _start(launcher: Launcher, candidate: Candidate) -> Served:
    pod = await launcher.open_pod()
    try:
        started_s = time.perf_counter()
        place = {
            "HOST": pod.host,
            "PORT": str(pod.port),
            "VIBESERVE_CORES": str(len(pod.server_cores)),
        }
        cores = pod.other_cores if candidate.start_elsewhere else pod.server_cores
        process = await pod.start(SERVER, _spec(candidate, candidate.command, place, cores))
        health = await _health(pod, process, candidate)
        if cores != pod.server_cores:
            await pod.move(SERVER, pod.server_cores)
    except BaseException:
        await pod.close()
        raise
    return Served(pod, process, candidate.log, time.perf_counter() - started_s, health)


def _spec(
    candidate: Candidate, command: tuple[str, ...], place: Mapping[str, str], cores: frozenset[int] | None = None
) -> BoxSpec:
    contract = {
        "MODEL_DIR": str(candidate.model_dir),
        "BUILD_DIR": str(candidate.build_dir),
        "VIBESERVE_COMMIT": candidate.commit,
        "VIBESERVE_BACKEND": candidate.backend,
    }
    build_dir = (candidate.build_dir,)
    closed = candidate.build_dir_closed
    return BoxSpec(
        argv=tuple(word.replace("{python}", sys.executable) for word in command),
        cwd=candidate.checkout,
        env={**candidate.env, **contract, **place},
        read_only=(candidate.checkout, candidate.model_dir, *(build_dir if closed else ())),
        writable=() if closed else build_dir,
        devices=candidate.devices,
        limits=candidate.limits,
        cores=cores,
        log=candidate.log,
        serves="PORT" in place,
    )


async def _health(pod: Pod, process: Process, candidate: Candidate) -> Mapping[str, object]:
    """Ask until it is ready, unless it ends first."""
    asking = asyncio.create_task(wait_until_ready(pod, candidate.timeouts.ready_s))
    ending = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            raise _ended(ending.result(), candidate)
        return _judge(asking.result(), candidate)
    finally:
        for task in (asking, ending):
            task.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)


def _ended(result: BoxResult, candidate: Candidate) -> CandidateError:
    tail = _log_tail(candidate.log)
    if result.killed is not None:
        detail = f"at {result.peak_rss_mib:.0f} MiB" if result.killed is Killed.MEMORY else "before it was ready"
        return CandidateError(Failure.KILLED, f"the server was killed ({result.killed}) {detail}", tail)
    what = f"the server ended with exit code {result.returncode} before it was ready"
    return CandidateError(Failure.EXITED, what, tail)


def _judge(readiness: Readiness, candidate: Candidate) -> Mapping[str, object]:
    within = f"within {candidate.timeouts.ready_s:g} s"
    tail = _log_tail(candidate.log)
    if readiness.status is None:
        if readiness.connected:
            raise CandidateError(Failure.NO_ANSWER, f"the server accepted connections but answered none {within}", tail)
        raise CandidateError(Failure.NOT_LISTENING, f"the server did not listen on its port {within}", tail)
    if readiness.status != 200:
        what = f"GET /health answered {readiness.status}, not 200, {within}"
        raise CandidateError(Failure.NO_HEALTH, what, tail)
    try:
        health = json.loads(readiness.body)
    except (ValueError, RecursionError):
        health = None
    if not isinstance(health, dict):
        raise CandidateError(Failure.BAD_HEALTH, "GET /health answered 200 without a JSON object", tail)
    return health


def _log_tail(log: Path) -> str:
    if not log.exists():
        return ""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
