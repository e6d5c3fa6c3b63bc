"""The load generator: a plan on stdin, a report on stdout, from the standard library alone.

It runs as its own process, `python -m vibeserve_tui.evaluation.load`, in its own box beside the
server that it measures, so it shares nothing with what it judges but a loopback socket. It sends,
stamps and counts; it draws no prompt and reaches no verdict. The same client serves the judge
and the timed run: a candidate cannot tell them apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

from vibeserve_tui.errors import InputError
from vibeserve_tui.evaluation.arrivals import arrival_times
from vibeserve_tui.evaluation.load_clock import LagMeter, clock_offset, lag_of, new_event_loop
from vibeserve_tui.evaluation.load_plan import MIB, Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_reply import call_report
from vibeserve_tui.evaluation.load_report import CallReport, ClientUse, Fault, LoadReport
from vibeserve_tui.evaluation.load_wire import Connections, Reply

RAW_BUDGET = 64 * MIB
"""Raw replies are kept until the window ends, but never more of them than this."""
CONNECT_S = 2.0
"""For the connections made ahead of the window."""


class LoadGenerator:
    """Carries out one plan, once."""

    def __init__(self, plan: LoadPlan, *, raw_budget: int = RAW_BUDGET) -> None:
        self._plan = plan
        self._requests = [request_bytes(plan, call) for call in plan.calls]
        self._arrivals = arrival_times(plan)
        self._connections = Connections(plan.host, plan.port)
        self._raw_budget = raw_budget
        self._raw_bytes = 0
        self._replies: dict[int, Reply] = {}
        self._reports: dict[int, CallReport] = {}
        self._schedule_lags: list[float] = []
        self._in_flight = 0
        self._peak_in_flight = 0
        self._reads = 0
        self._bytes = 0
        self._t0 = 0.0

    async def run(self) -> LoadReport:
        """Ends at the plan's deadline at the latest, whatever the server does."""
        plan = self._plan
        await self._connect_ahead()
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        offset, cpu_s = clock_offset(), time.process_time()
        meter = LagMeter(asyncio.get_running_loop())
        self._t0 = monotonic()
        try:
            async with asyncio.timeout_at(self._t0 + plan.deadline_s):
                await (self._closed_loop() if plan.mode is Mode.CLOSED else self._open_loop())
        except TimeoutError:
            pass  # the calls that were cut say so themselves
        client = ClientUse(
            cpu_s=round(time.process_time() - cpu_s, 6),
            wall_s=round(monotonic() - self._t0, 6),
            loop_lag=meter.stop(),
            schedule_lag=lag_of(self._schedule_lags),
            reads=self._reads,
            bytes_read=self._bytes,
            connections=self._connections.opened,
            peak_in_flight=self._peak_in_flight,
            suspended_s=round(abs(clock_offset() - offset), 3),
        )
        self._connections.close()
        return LoadReport(
            plan_sha256=plan.sha256(),
            mode=plan.mode.value,
            started_at=started_at,
            t0_monotonic_s=self._t0,
            distinct_prompts=distinct_prompts(plan.calls),
            client=client,
            calls=tuple(self._report(index) for index in range(len(plan.calls))),
            concurrency=plan.concurrency,
            rate=plan.rate,
            burstiness=plan.burstiness,
            seed=plan.seed,
        )

    async def _connect_ahead(self) -> None:
        plan = self._plan
        wanted = len(plan.calls) if plan.mode is Mode.BURST else 0
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connections.open(min(plan.concurrency or wanted, len(plan.calls)))
        except TimeoutError:
            pass  # the calls will find out, and say so

    async def _closed_loop(self) -> None:
        assert self._plan.concurrency is not None, "a plan checks this"
        turns = iter(range(len(self._plan.calls)))
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._plan.concurrency, len(self._plan.calls))):
                workers.create_task(self._work(turns))

    async def _work(self, turns: Iterator[int]) -> None:
        for index in turns:
            if self._sending_is_over():
                return
            await self._perform(index, monotonic())

    async def _open_loop(self) -> None:
        slots = asyncio.Semaphore(self._plan.concurrency or len(self._plan.calls))
        async with asyncio.TaskGroup() as calls:
            for index in sorted(range(len(self._arrivals)), key=self._arrivals.__getitem__):
                t_sched = self._t0 + self._arrivals[index]
                # Always to an absolute time: sums of relative sleeps drift late.
                await asyncio.sleep(t_sched - monotonic())
                if self._sending_is_over():
                    return
                self._schedule_lags.append(monotonic() - t_sched)
                calls.create_task(self._wait_and_perform(index, t_sched, slots))

    async def _wait_and_perform(self, index: int, t_sched: float, slots: asyncio.Semaphore) -> None:
        async with slots:
            await self._perform(index, t_sched)

    def _sending_is_over(self) -> bool:
        limit = self._plan.send_for_s
        return limit is not None and monotonic() - self._t0 >= limit

    async def _perform(self, index: int, t_sched: float) -> None:
        plan, call = self._plan, self._plan.calls[index]
        reply = Reply(t_sched, monotonic(), plan.max_reply_mib * MIB, call.cancel_after)
        self._replies[index] = reply
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        try:
            async with asyncio.timeout(call.timeout_s or plan.timeout_s):
                connection = await self._connections.take()
                await connection.exchange(self._requests[index], reply)
            self._connections.put_back(connection)
        except TimeoutError:
            reply.fail(Fault.STALL if reply.reads else Fault.TIMEOUT)
        except ConnectionRefusedError as error:
            reply.fail(Fault.REFUSED, str(error))
        except ConnectionError as error:
            # A listener that dies resets the connections that it had not accepted yet.
            reply.fail(Fault.RESET, str(error))
        except OSError as error:
            reply.fail(Fault.UNREACHABLE, str(error))
        except asyncio.CancelledError:
            reply.fail(Fault.DEADLINE)
            raise
        finally:
            self._in_flight -= 1
            self._count(index, reply)

    def _count(self, index: int, reply: Reply) -> None:
        self._reads += reply.reads
        self._bytes += reply.size
        self._raw_bytes += reply.size
        if self._raw_bytes > self._raw_budget:
            # A very long run pays for parsing within its window rather than with its memory.
            self._raw_bytes -= reply.size
            self._report(index)

    def _report(self, index: int) -> CallReport:
        if index not in self._reports:
            call, reply = self._plan.calls[index], self._replies.pop(index, None)
            self._reports[index] = (
                CallReport(call.id, self._arrivals[index], error=Fault.NOT_SENT, prompt_tokens=call.prompt_tokens)
                if reply is None
                else call_report(call, reply, self._t0)
            )
        return self._reports[index]


def request_bytes(plan: LoadPlan, call: Call) -> bytes:
    body = call.raw if call.raw is not None else b"" if call.body is None else json.dumps(call.body).encode()
    headers = {
        "Host": f"{plan.host}:{plan.port}",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **plan.headers,
    }
    lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def distinct_prompts(calls: tuple[Call, ...]) -> int:
    prompts = set()
    for call in calls:
        if isinstance(call.body, dict):
            prompts.add(json.dumps(call.body.get("prompt", call.body.get("messages"))))
    return len(prompts)


def run(plan: LoadPlan) -> LoadReport:
    """Blocks; for a process of its own (it pins itself and freezes the collector)."""
    _pin(plan.cores)
    _allow_connections(len(plan.calls))
    generator = LoadGenerator(plan)
    # What exists now lives to the end: the collector need not look at it within the window.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(generator.run())


def _pin(cores: tuple[int, ...]) -> None:
    if cores and sys.platform == "linux":
        try:
            os.sched_setaffinity(0, cores)
        except OSError as error:
            raise InputError(f"cannot be pinned to cores {cores}: {error.strerror}", where="load plan") from error


def _allow_connections(count: int) -> None:
    """A limit on open files would cap the concurrency and look like a plateau of the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, count + 64)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def main() -> int:
    try:
        plan = LoadPlan.from_bytes(sys.stdin.buffer.read())
        report = run(plan)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.buffer.write(report.to_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
