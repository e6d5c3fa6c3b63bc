"""The launcher itself: the only process that ever starts code nobody wrote by hand.

A separate interpreter with an empty environment and nothing imported but the standard library. It
holds no secret, listens nowhere, and lives as long as its engine: the end of the engine's socket is
the order to kill every box and leave.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Coroutine

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import process_table, syscalls, trial
from vibeserve_tui.execution.box import Killed, Usage, spec_from_json
from vibeserve_tui.execution.box_plan import Ground, Pod
from vibeserve_tui.execution.ladder import Tier, TierResult
from vibeserve_tui.execution.supervisor import Box, Supervisor
from vibeserve_tui.execution.view import Interpreter
from vibeserve_tui.execution.wire import (
    Act,
    Channel,
    ClosePod,
    Exit,
    Hello,
    ListenerJson,
    ProcessJson,
    Reply,
    Request,
    Setup,
    Start,
    TierJson,
    UsageJson,
)


async def serve(channel: Channel, setup: Setup) -> None:
    """Climb the ladder, say hello, answer until the engine is gone."""
    ended = asyncio.Event()
    session = _Session(channel, ended)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)

    loop.set_exception_handler(session.give_up)
    interpreter = Interpreter(tuple(setup["prefixes"]), setup["package"])
    tried: list[TierResult] = []
    supervisors: list[Supervisor] = []

    def child_ended() -> None:
        """A signal from the end of one trial may be heard in the next one, whose boxes would be strays to the first."""
        supervisors[-1].reap()

    loop.add_signal_handler(signal.SIGCHLD, child_ended)
    for tier in map(Tier, setup["tiers"]):
        ground = Ground(tier, interpreter, setup["run"], setup["scratch"], setup["seatbelt"])
        supervisor = Supervisor(ground, session.exited)
        supervisors.append(supervisor)
        tried.append(await trial.hold(supervisor))
        if tried[-1].works:
            channel.send(_hello(tier, tried))
            await session.answer(supervisor)
            return
    channel.send(_hello(None, tried))


def _hello(tier: Tier | None, tried: list[TierResult]) -> Hello:
    results = [TierJson(tier=one.tier, works=one.works, detail=one.detail, fix=one.fix) for one in tried]
    return Hello(tier=tier, tried=results)


class _Session:
    """Boxes and pods under the numbers that the engine gave them."""

    def __init__(self, channel: Channel, ended: asyncio.Event) -> None:
        self._channel = channel
        self._ended = ended
        self._boxes: dict[int, Box] = {}
        self._pods: dict[int, Pod] = {}
        self._pending: set[asyncio.Task[None]] = set()

    def exited(self, message: Exit) -> None:
        """A box is over; those of the ladder's trials have no number here."""
        if self._boxes.pop(message["box"], None) is not None:
            self._send(message)

    def give_up(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What nobody foresaw ends the launcher, and with it every box, rather than leave the engine waiting."""
        loop.default_exception_handler(context)
        self._ended.set()

    async def answer(self, supervisor: Supervisor) -> None:
        """Until the engine is gone or a signal ends the launcher; leaves no box behind."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.fileno(), self._receive, supervisor)
        watching = loop.create_task(supervisor.watch())
        ending = loop.create_task(self._ended.wait())
        try:
            await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            supervisor.kill_everything()
        if watching.done():
            watching.result()  # it only ends by failing

    def _receive(self, supervisor: Supervisor) -> None:
        try:
            lines = self._channel.receive()
        except (EOFError, ConnectionError):
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._ended.set()
            return
        for line in lines:
            request: Request = json.loads(line)
            try:
                self._handle(supervisor, request)
            except (OSError, SandboxError) as error:
                self._send(Reply(id=request["id"], error=str(error)))

    def _handle(self, supervisor: Supervisor, request: Request) -> None:
        if request["op"] == "start":
            self._start(supervisor, request)
        elif request["op"] == "open_pod":
            pod = self._pods[request["pod"]] = supervisor.open_pod()
            self._send(Reply(id=request["id"], port=pod.port))
        elif request["op"] == "close_pod":
            self._later(self._close_pod(supervisor, request))
        else:
            box = self._boxes.get(request["box"])
            reply = Reply(id=request["id"], over=True) if box is None else _act(supervisor, box, request)
            self._send(reply)

    def _start(self, supervisor: Supervisor, request: Start) -> None:
        files = self._channel.files
        stdio = (files.popleft(), files.popleft(), files.popleft())
        try:
            pod = None if request["pod"] is None else self._open_pod(request["pod"])
            spec = spec_from_json(request["spec"])
            box = supervisor.start(request["box"], spec, stdio, pod, request["timeout_s"])
        finally:
            for descriptor in stdio:
                os.close(descriptor)
        self._boxes[request["box"]] = box
        self._later(self._announce(supervisor, box, request["id"]))

    def _open_pod(self, number: int) -> Pod:
        if number not in self._pods:
            raise SandboxError("the pod is closed")
        return self._pods[number]

    async def _announce(self, supervisor: Supervisor, box: Box, request: int) -> None:
        self._send(Reply(id=request, pid=await supervisor.command_pid(box)))

    async def _close_pod(self, supervisor: Supervisor, request: ClosePod) -> None:
        pod = self._pods.pop(request["pod"], None)
        inside = [box for box in self._boxes.values() if box.pod is pod is not None]
        for box in inside:
            supervisor.kill(box, Killed.ASKED)
        for box in inside:
            await box.over
        if pod is not None:
            pod.close()
        self._send(Reply(id=request["id"]))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    def _send(self, message: Exit | Reply) -> None:
        try:
            self._channel.send(message)
        except ConnectionError:
            self._ended.set()


def _act(supervisor: Supervisor, box: Box, request: Act) -> Reply:
    reply = Reply(id=request["id"])
    match request["op"]:
        case "kill":
            supervisor.kill(box, Killed(request["why"]))
        case "suspend":
            supervisor.signal_all(box, signal.SIGSTOP)
        case "resume":
            supervisor.signal_all(box, signal.SIGCONT)
        case "terminate":
            supervisor.terminate(box)
        case "usage":
            reply["usage"] = _usage(supervisor.usage(box))
        case "processes":
            reply["processes"] = [_process(pid) for pid in supervisor.pids(box)]
        case "listeners":
            found = process_table.listeners(supervisor.pids(box))
            reply["listeners"] = [ListenerJson(pid=one.pid, protocol=one.protocol, port=one.port) for one in found]
    return reply


def _usage(usage: Usage) -> UsageJson:
    return UsageJson(
        cpu_s=usage.cpu_s,
        rss_mib=usage.rss_mib,
        peak_rss_mib=usage.peak_rss_mib,
        processes=usage.processes,
        threads=usage.threads,
    )


def _process(pid: int) -> ProcessJson:
    process = process_table.read(pid)
    return ProcessJson(
        pid=pid,
        parent=process.parent if process else 0,
        command=process_table.command_line(pid),
        cpu_s=process.own_cpu_s if process else 0.0,
        session=_session(pid),
    )


def _session(pid: int) -> int:
    """0 for a process that is gone, or that the system says nothing of."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def main() -> None:
    if sys.platform == "linux":
        # First of all: until here another process of the same user could read this one.
        syscalls.set_dumpable(False)
        syscalls.become_subreaper()
    syscalls.forbid_core_dumps()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    setup: Setup = json.loads(channel.first())
    asyncio.run(serve(channel, setup))
