"""The target's reference as a service: what an answer should have been, from a process of its own.

The process is the only one beside the candidate's that imports a framework. It never sees
the candidate; the engine asks it about prompts and about what the candidate answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation import reference_worker
from vibeserve_tui.execution.launcher import BoxSpec, Launcher, Limits
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.safe_text import clean_line

TokenIds = Sequence[int]
Number = TypeVar("Number", int, float)

ANSWER_S = 300.0
"""Deadline of one request to the reference, loading a model included."""
_MAX_LINE = 1 << 26  # the log-probabilities of a vocabulary of 256 k are 5 MB of JSON
_LOG_TAIL_LINES = 20
# Half-precision weights double in fp32 and are read beside their copy; activations of one prompt are small to that.
_FRAMEWORK_MIB = 2048


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How the reference's process is started, and what of the machine it has to see."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    read_only: tuple[Path, ...]
    memory_mib: int


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A started worker. The end of `replies` means that it died."""

    requests: asyncio.StreamWriter
    replies: asyncio.StreamReader
    stop: Callable[[], Awaitable[None]]
    """Kill it, and wait until it is gone."""


Spawn = Callable[[WorkerCommand, Path], Awaitable[WorkerProcess]]
"""Starts a command whose stderr is appended to the given file."""


def reference_command(
    target: LoadedTarget, *, swaps: Path, device: str = "cpu", dtype: str = "", change: str = ""
) -> WorkerCommand:
    """The reference of a target on one thread; `swaps` is where other weights for it will be written.

    `dtype` and `change` (a key of reference_worker.CHANGES) make it something else than the truth, for calibration.
    """
    path = Path(reference_worker.__file__)
    file, _, name = target.spec.reference.rpartition(":")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return WorkerCommand(
        # -P: the worker's own folder is not on the path, so no module of ours can shadow one of the framework's;
        # -u: what it prints is in the log when it dies.
        argv=(
            *(sys.executable, "-P", "-B", "-u", str(path)),
            *("--reference", f"{target.file(file)}:{name}"),
            *("--device", device, "--dtype", dtype or target.spec.model.dtype, "--change", change),
        ),
        env=threads | offline,
        read_only=(path, target.root, target.model_dir, swaps),
        memory_mib=_FRAMEWORK_MIB + 5 * _weights_mib(target.model_dir),
    )


def _weights_mib(model_dir: Path) -> int:
    return sum(path.stat().st_size for path in model_dir.iterdir() if path.is_file()) >> 20


async def spawn_plain(command: WorkerCommand, log: Path) -> WorkerProcess:
    """Start the worker outside of any box: for targets whose code the user trusts, and for tests."""
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **command.env},
            limit=_MAX_LINE,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None

    async def stop() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    return WorkerProcess(process.stdin, process.stdout, stop)


def spawn_boxed(launcher: Launcher) -> Spawn:
    """Starts the worker in a box without any network, which shows it the target, the weights and its own file."""

    async def spawn(command: WorkerCommand, log: Path) -> WorkerProcess:
        spec = BoxSpec(
            argv=command.argv,
            cwd=Path("/tmp"),  # noqa: S108  the box's own, empty
            env=command.env,
            read_only=command.read_only,
            limits=Limits(memory_mib=command.memory_mib),
            log=log,
        )
        talk = await launcher.converse(spec, longest_line=_MAX_LINE)
        return WorkerProcess(talk.requests, talk.replies, talk.process.kill)

    return spawn


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    value: JsonValue = None
    error: str | None = None


class _Loaded(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    end_ids: tuple[int, ...]


_TOKENS = TypeAdapter(list[list[Annotated[int, Field(ge=0, strict=True)]]])
_GAPS = TypeAdapter(list[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]]])
_LOGPROBS = TypeAdapter(list[list[Annotated[float, Field(le=0, allow_inf_nan=False)]]])


class ReferenceService:
    """One long-lived reference process with one model loaded at a time. Requests are answered in order."""

    def __init__(self, worker: WorkerProcess, log: Path, model_dir: Path, ids: Iterator[int] | None = None) -> None:
        self._worker = worker
        self._log = log
        self._turn = asyncio.Lock()
        self._ids = ids or itertools.count(1)
        self.model_dir = model_dir
        """The weights that are loaded now."""
        self.end_ids: tuple[int, ...] = ()
        """Ids that end a text; `greedy` goes on past them."""

    @classmethod
    async def start(
        cls, command: WorkerCommand, model_dir: Path, *, log: Path, spawn: Spawn = spawn_plain
    ) -> ReferenceService:
        """Start the process and load the target's own weights."""
        service = cls(await spawn(command, log), log, model_dir)
        try:
            await service.load(model_dir)
        except BaseException:
            await service.close()
            raise
        return service

    async def load(self, model_dir: Path) -> None:
        """Replace the loaded weights by those of another folder, given as an absolute path."""
        value = await self._ask("load", model_dir=str(model_dir))
        try:
            self.end_ids = _Loaded.model_validate_json(json.dumps(value)).end_ids
        except ValidationError as problem:
            raise self._fault(f"load returned {_first_line(problem)}") from None
        self.model_dir = model_dir

    @contextlib.asynccontextmanager
    async def using(self, model_dir: Path) -> AsyncIterator[ReferenceService]:
        """The same process with other weights for a while; whoever asks the own ones meanwhile has to wait."""
        async with self._turn:
            other = ReferenceService(self._worker, self._log, model_dir, self._ids)
            try:
                await other.load(model_dir)
                yield other
            finally:
                await other.load(self.model_dir)

    async def greedy(self, prompt_ids: TokenIds, n: int) -> list[int]:
        """The `n` tokens that greedy decoding gives, past any end-of-text."""
        return (await self.greedy_many([(prompt_ids, n)]))[0]

    async def greedy_many(self, requests: Sequence[tuple[TokenIds, int]], *, at_once: int = 1) -> list[list[int]]:
        """`at_once` matters to arithmetic that rounds all rows of a batch alike; the truth knows no batch."""
        items: list[JsonValue] = [[list(prompt), n] for prompt, n in requests]
        return await self._lists("generate", items, _TOKENS, [n for _, n in requests], at_once=at_once)

    async def gaps(self, prompt_ids: TokenIds, output_ids: TokenIds) -> list[float]:
        """Log p(best) − log p(emitted) at each output position, given the emitted text so far; 0 = the greedy token."""
        return (await self.gaps_many([(prompt_ids, output_ids)]))[0]

    async def gaps_many(self, answers: Sequence[tuple[TokenIds, TokenIds]]) -> list[list[float]]:
        items: list[JsonValue] = [[list(prompt), list(output)] for prompt, output in answers]
        return await self._lists("gaps", items, _GAPS, [len(output) for _, output in answers])

    async def next_logprobs(self, prompt_ids: TokenIds) -> list[float]:
        """Of every token of the vocabulary, as the first of an answer at temperature 1."""
        return (await self.next_logprobs_many([prompt_ids]))[0]

    async def next_logprobs_many(self, prompts: Sequence[TokenIds]) -> list[list[float]]:
        items: list[JsonValue] = [[list(prompt)] for prompt in prompts]
        return await self._lists("next_logprobs", items, _LOGPROBS, [None] * len(prompts))

    async def close(self) -> None:
        self._worker.requests.close()
        await self._worker.stop()

    async def _lists(
        self,
        op: str,
        items: list[JsonValue],
        shape: TypeAdapter[list[list[Number]]],
        lengths: Sequence[int | None],
        **fields: JsonValue,
    ) -> list[list[Number]]:
        """One list per item, of the expected lengths; a reference that answers anything else cannot judge."""
        value = await self._ask(op, items=items, **fields)
        try:
            lists = shape.validate_python(value)
        except ValidationError as problem:
            raise self._fault(f"{op} returned {_first_line(problem)}") from None
        found = [len(one) for one in lists]
        expected = [one if length is None else length for one, length in zip(found, lengths, strict=False)]
        if len(found) != len(lengths) or found != expected:
            raise self._fault(f"{op} returned {found} values where {list(lengths)} were asked for")
        return lists

    async def _ask(self, op: str, **fields: JsonValue) -> JsonValue:
        async with self._turn:
            request_id = next(self._ids)
            request = json.dumps({"id": request_id, "op": op, **fields})
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._worker.requests.write(f"{request}\n".encode())
                    await self._worker.requests.drain()
                    reply = await self._reply(request_id)
            except TimeoutError:
                await self._worker.stop()
                raise self._fault(f"{op} took longer than {ANSWER_S:g} s") from None
            except (ConnectionError, ValueError) as problem:  # ValueError: not a reply, or a line without end
                await self._worker.stop()
                raise self._fault(f"the process failed in {op}: {problem}") from None
        if reply.error is not None:
            raise self._fault(f"{op} raised {reply.error}")
        return reply.value

    async def _reply(self, request_id: int) -> _Reply:
        while True:
            line = await self._worker.replies.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("it ended")
            reply = _Reply.model_validate_json(line)
            if reply.id == request_id:  # an earlier one answers a request whose asker was cancelled
                return reply

    def _fault(self, what: str) -> MeasurementError:
        tail = self._log.read_text(encoding="utf-8", errors="replace").split("\n")[-_LOG_TAIL_LINES:]
        last = next((line.strip() for line in reversed(tail) if line.strip()), "its log is empty")
        return MeasurementError(
            clean_line(f"the reference cannot be asked: {what} (log ends: {last[:200]})"),
            where=str(self._log),
            fix="the log has the whole story; `vibeserve target check` runs the reference alone",
        )


def _first_line(problem: ValidationError) -> str:
    detail = problem.errors(include_url=False)[0]
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
