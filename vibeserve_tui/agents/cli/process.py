"""A CLI as a process: boxed, fed, watched line by line, and ended for certain.

    SIGINT to its group ── 5 s ── the box's whole tree killed ── survivors found by a cookie in their environment

Programs start commands in sessions of their own, which a signal to the group does not reach; the box's end does. The
sweep is for tiers without a process namespace, where somebody may have slipped away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import psutil

from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.launcher import Conversation, Pod, Process

COOKIE = "VIBESERVE_CALL"
"""Marks all processes of one call; VIBESERVE_RUN marks all of the run, the launcher and the servers among them."""
GRACE_S = 5.0
LINGER_S = 15.0
"""How long a program may go on after its answer was accepted."""
LONGEST_LINE = 16 << 20


class Stalled(Exception):
    """No event for too long although no tool runs."""


class TimeIsUp(Exception):
    """The call's wall time is over."""


@dataclass(slots=True)
class Watch:
    """When patience ends; moments are on the event loop's clock."""

    silence_s: float
    deadline: float
    is_busy: Callable[[], bool]
    """Whether a tool runs: then silence means nothing."""
    is_done: Callable[[], bool]
    """Whether the answer is there: then only the program's account of itself is waited for, and not for long."""
    expects_exit: bool = False
    """It said its last word and may save what it has to."""
    _done_since: float | None = None

    def left_s(self, now: float) -> float:
        if self._done_since is None and self.is_done():
            self._done_since = now
            self.deadline = min(self.deadline, now + LINGER_S)
        return self.deadline - now


async def talk(pod: Pod, spec: BoxSpec, prompt: str, watch: Watch) -> AsyncGenerator[str]:
    """The lines of a CLI that is given the prompt on its stdin. When this ends, so has the CLI, however it ends.

    Raises Stalled or TimeIsUp.
    """
    conversation = await pod.converse("program", spec, longest_line=LONGEST_LINE)
    feeding = asyncio.create_task(_feed(conversation, prompt))
    try:
        while (line := await _next_line(conversation.replies, watch)) is not None:
            if line:
                yield line
        watch.expects_exit = True
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await end(conversation.process, spec.env.get(COOKIE, ""), patiently=watch.expects_exit)
        conversation.requests.close()


async def _feed(conversation: Conversation, prompt: str) -> None:
    """A program that ends before it has read everything is no error here."""
    with contextlib.suppress(ConnectionError):
        conversation.requests.write(prompt.encode())
        await conversation.requests.drain()
        conversation.requests.write_eof()


async def _next_line(replies: asyncio.StreamReader, watch: Watch) -> str | None:
    """None at the end; "" for a line that is longer than any sensible one."""
    loop = asyncio.get_running_loop()
    reading = asyncio.ensure_future(replies.readline())
    heard = loop.time()
    try:
        while not reading.done():
            left_s = watch.left_s(loop.time())
            if left_s <= 0:
                raise TimeIsUp
            quiet_s = loop.time() - heard
            if watch.is_busy():
                heard, quiet_s = loop.time(), 0.0
            elif quiet_s >= watch.silence_s:
                raise Stalled
            await asyncio.wait({reading}, timeout=min(left_s, watch.silence_s - quiet_s, 1.0))
    finally:
        reading.cancel()
    try:
        data = reading.result()
    except ValueError:
        return ""
    except ConnectionError:
        return None
    return data.decode(errors="replace").strip() if data else None


async def end(process: Process, cookie: str, *, patiently: bool) -> None:
    """The kill ladder; returns when nothing of the tree is left."""
    try:
        if patiently:
            await _over(process)
        if process.returncode is None:
            _interrupt(process.pid)
            await _over(process)
        await process.kill()
    finally:  # also when the launcher is lost, which could not end it any more
        if cookie:
            await asyncio.to_thread(sweep, cookie)


async def _over(process: Process) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.exit(), GRACE_S)


def _interrupt(pid: int) -> None:
    """As Ctrl-C in its terminal would; it then ends its own children."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGINT)


def sweep(cookie: str) -> list[int]:
    """Kill every process that carries the cookie; returns which those were."""
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(COOKIE) == cookie:
                process.kill()
                found.append(process.pid)
    return found
