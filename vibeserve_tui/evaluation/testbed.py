"""Where candidates of one run are started: fresh checkout, own pod, and the load generator beside them in its own box.

Judge and gate get their servers here and nowhere else, so what is checked and what is timed are started alike. Every
checkout lives exactly as long as its server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.load_client import COMMAND, IMPORT_ROOT, report_of
from vibeserve_tui.evaluation.load_plan import MIB, Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import CallReport, LoadReport
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.evaluation.strict_json import MAX_INTEGER
from vibeserve_tui.execution import weights
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Limits, Listener, ProcessInfo, Usage
from vibeserve_tui.execution.build_folder import BuildFolder
from vibeserve_tui.execution.candidate import SERVER, Candidate, CandidateError, Served, Timeouts, build, serve
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.process import Conversation
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

CLIENT_LIMITS = Limits(memory_mib=1024, tasks=32)
GRACE_S = 30.0
"""For the client to start, connect, parse and print, beside its plan's own deadline."""
CALL_S = 120.0
FLOOD = 4096
"""Bytes of a reply for each of its tokens, of which an honest chunk takes some hundred: who sends more keeps the load
generator from being on time, and could so void whatever window goes badly."""
PROBE = b"#include <cmath>\nint main() { return std::sqrt(4.0) == 2.0 ? 0 : 1; }\n"


@dataclass(slots=True)
class LiveServer:
    """A candidate that is up, and the ways to talk to it."""

    served: Served
    client_log: Path
    _spare: asyncio.Task[Conversation] | None = None
    """A load generator that waits for its plan: starting one takes longer than most questions."""
    _clients: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def health(self) -> Mapping[str, object]:
        """What it said when it became ready."""
        return self.served.health

    @property
    def address(self) -> tuple[str, int]:
        return self.served.host, self.served.port

    async def run(self, plan: LoadPlan) -> LoadReport:
        """One window of load, by a client of its own. Raises ServerDied when the server is gone afterwards."""
        plan = replace(plan, max_reply_mib=_longest_reply_mib(plan.calls))
        client = await (self._spare or self._new_client())
        self._spare = None
        try:
            async with asyncio.timeout(plan.deadline_s + GRACE_S):
                said = await _told(client, plan)
                over = await client.process.exit()
        except TimeoutError as error:
            raise MeasurementError("the load generator did not end by its deadline") from error
        finally:
            await client.process.kill()
            client.requests.close()
        self.require_alive()
        if over["killed"] is not None:
            raise MeasurementError(f"the load generator was killed ({over['killed']})")
        return report_of(over["returncode"], said, self.client_log.read_bytes())

    async def _new_client(self) -> Conversation:
        pod = self.served.pod
        spec = BoxSpec(
            argv=COMMAND,
            cwd=Path("/"),
            env={"PYTHONPATH": str(IMPORT_ROOT)},
            read_only=(IMPORT_ROOT / "vibeserve_tui",),
            limits=CLIENT_LIMITS,
            cores=pod.client_cores,
            log=self.client_log,
        )
        return await pod.converse(f"load {next(self._clients)}", spec, longest_line=1 << 16)

    async def aclose(self) -> None:
        """The spare client ends with the pod; here only its start is given up."""
        if self._spare is not None:
            self._spare.cancel()
            (spare,) = await asyncio.gather(self._spare, return_exceptions=True)
            if isinstance(spare, Conversation):
                spare.requests.close()
        if self.client_log.exists() and not self.client_log.stat().st_size:
            self.client_log.unlink()

    def require_alive(self) -> None:
        """Raises ServerDied when it is gone."""
        if self.served.process.returncode is not None:
            raise ServerDied(f"the server ended while it was under load: {_last_line(self.served.log_tail())}")

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        plan = LoadPlan(
            host=self.served.host,
            port=self.served.port,
            mode=Mode.CLOSED,
            calls=tuple(calls),
            concurrency=concurrency,
            deadline_s=CALL_S,
            timeout_s=CALL_S,
        )
        report = await self.run(plan)
        # Most questions are followed by more. Not behind a timed window: its sibling's may begin at once.
        self._spare = asyncio.create_task(self._new_client())
        return list(report.calls)

    async def counters(self) -> dict[str, int]:
        """The candidate's own counters, as it states them now."""
        (reply,) = await self.send([Call("health", "/health", method="GET", stream=False)], concurrency=1)
        body = reply.body if isinstance(reply.body, dict) else {}
        stated = body.get("counters")
        numbers = stated.items() if isinstance(stated, dict) else ()
        return {n: v for n, v in numbers if isinstance(v, int) and abs(v) <= MAX_INTEGER}

    async def usage(self) -> Usage:
        return await self.served.usage()

    async def processes(self) -> tuple[ProcessInfo, ...]:
        return await self.served.pod.processes(SERVER)

    async def listening(self) -> tuple[Listener, ...]:
        return await self.served.pod.listening(SERVER)

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult:
        """Run a program in a box of its own that reaches the server and nothing else."""
        return await self.served.pod.run(name, spec, timeout_s=timeout_s)


@dataclass(slots=True)
class Testbed:
    launcher: Launcher
    store: Store
    directory: RunDir
    target: LoadedTarget
    backend: str
    env: Mapping[str, str]
    devices: tuple[Path, ...] = ()
    _built: set[str] = field(default_factory=set)
    _up: int = 0
    """Servers that are up or starting."""

    @asynccontextmanager
    async def serve(self, commit: str, model_dir: Path | None = None) -> AsyncIterator[LiveServer]:
        """Start the commit from a fresh checkout. Raises ServerDied, with the last log line, when it does not get ready."""
        elsewhere = self._up > 0
        # No number: a server sees both names, and could tell from it whether it is checked or timed.
        name = f"{commit[:12]}-{secrets.token_hex(4)}"
        checkout, model = self.directory.checkouts / name, self.directory.checkouts / f"{name}.model"
        log = self.directory.path / "logs" / f"{name}.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        builds = BuildFolder(self.directory.path / "builds" / commit)
        builds.open()
        closed_here = False
        self._up += 1
        try:
            await asyncio.to_thread(self.store.checkout, commit, checkout)
            shown = await asyncio.to_thread(self._weights, model_dir or self.target.model_dir, model)
            candidate = self._candidate(commit, checkout, shown, builds, log)
            await self._build_once(candidate)
            async with serve(self.launcher, replace(candidate, start_elsewhere=elsewhere)) as served:
                closed_here = await asyncio.to_thread(_close, builds)
                async with contextlib.aclosing(LiveServer(served, log.with_suffix(".client.log"))) as server:
                    yield server
        except CandidateError as error:
            raise ServerDied(f"{error.what}: {_last_line(error.log_tail)}") from error
        finally:
            self._up -= 1
            for folder in (checkout, model):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if closed_here:
                await asyncio.to_thread(builds.forget)

    def _weights(self, model_dir: Path, folder: Path) -> Path:
        """Where the server finds them; a target that is never served others has only its own to show."""
        if self.target.spec.accuracy.weight_swap == "off":
            return model_dir
        weights.lay_out(model_dir, folder, self.directory.path / "weights")
        return folder

    def _candidate(self, commit: str, checkout: Path, model_dir: Path, builds: BuildFolder, log: Path) -> Candidate:
        serving, limits = self.target.spec.serve, self.target.spec.limits
        return Candidate(
            commit=commit,
            checkout=checkout,
            command=serving.command,
            build_command=serving.build,
            model_dir=model_dir,
            build_dir=builds.path,
            build_dir_closed=builds.is_closed,
            log=log,
            backend=self.backend,
            env={**self.env, **serving.env},
            devices=self.devices,
            limits=Limits(memory_mib=limits.memory_mib, disk_mib=limits.disk_mib),
            timeouts=Timeouts(build_s=serving.timeout_s.build, ready_s=serving.timeout_s.ready),
        )

    async def _build_once(self, candidate: Candidate) -> None:
        if candidate.commit not in self._built and not candidate.build_dir_closed:
            await build(self.launcher, candidate)
            self._built.add(candidate.commit)

    async def probe_compiler(self) -> bool:
        """Does a C++ compiler in the candidate's box produce a program that runs?"""
        script = (
            "cd $TMPDIR; cat > p.cpp; for c in c++ g++ clang++; do $c -O1 -o p p.cpp && ./p && exit 0; done; exit 1"
        )
        spec = BoxSpec(argv=("/bin/sh", "-c", script), cwd=Path("/"), env=dict(self.env), limits=CLIENT_LIMITS)
        return (await self.launcher.run(spec, stdin=PROBE, timeout_s=30.0)).returncode == 0


def _longest_reply_mib(calls: Iterable[Call]) -> int:
    """What is longer is no answer; to read it all could cost the client its life."""
    wanted = [call.body.get("max_tokens") for call in calls if isinstance(call.body, dict)]
    most = max((tokens for tokens in wanted if isinstance(tokens, int)), default=0)
    return 1 + FLOOD * max(0, most) // MIB


async def _told(client: Conversation, plan: LoadPlan) -> bytes:
    """What a client says to a plan; nothing when it ended before it had read it, which its exit status explains."""
    try:
        client.requests.write(plan.to_bytes())
        await client.requests.drain()
        client.requests.write_eof()
        return await client.replies.read()
    except ConnectionError:
        return b""


def _close(builds: BuildFolder) -> bool:
    try:
        return builds.close()
    except OSError as error:
        raise ServerDied(f"its build folder cannot be kept: {str(error)[:300]}") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "its log is empty"
