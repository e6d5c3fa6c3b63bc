"""The engine's hand on a worker: one for each conversation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from vibeserve_tui.agents.local.completion import Ask, Completion, Line, PromptTooLong, Ready, Refused
from vibeserve_tui.errors import AgentError

IMPORT_ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "vibeserve_tui.agents.local.worker")
PASSED_ON = (
    "PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OMP_NUM_THREADS",
)  # fmt: skip
"""No key is among them."""
LOAD_S = 300.0
LONGEST_LINE = 16 << 20
_LAST_ERRORS = 400
_READ_BACK = 4 * _LAST_ERRORS

Answer = TypeVar("Answer", bound=Line)


class Worker:
    def __init__(self, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors
        self.ready = Ready(context=0, constrained=False)

    async def load(self) -> None:
        async with asyncio.timeout(LOAD_S):
            self.ready = await self._hear(Ready)

    async def complete(self, ask: Ask) -> Completion:
        """Raises PromptTooLong, or AgentError when the model could not answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # then there is no answer either
            self._process.stdin.write(ask.model_dump_json().encode() + b"\n")
            await self._process.stdin.drain()
        return await self._hear(Completion)

    async def _hear(self, kind: type[Answer]) -> Answer:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AgentError(f"the model's process ended: {await self._last_errors() or 'it said nothing'}")
        try:
            return kind.model_validate_json(line)
        except ValidationError:
            refused = Refused.model_validate_json(line)
        if refused.too_long:
            raise PromptTooLong(refused.reason)
        raise AgentError(refused.reason)

    async def _last_errors(self) -> str:
        await self._process.wait()
        said = os.pread(self._errors.fileno(), _READ_BACK, max(0, os.fstat(self._errors.fileno()).st_size - _READ_BACK))
        return " ".join(said.decode(errors="replace").split())[-_LAST_ERRORS:]


@asynccontextmanager
async def working(kind: str, path: Path, context: int) -> AsyncIterator[Worker]:
    """A worker with its model loaded; killed in the end. Raises AgentError when it cannot be loaded."""
    # A file, since nobody reads along: a library that says much would wait for ever at a full pipe.
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, kind, str(path), str(context),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"PYTHONPATH": str(IMPORT_ROOT)},
            limit=LONGEST_LINE,
        )  # fmt: skip
        try:
            worker = Worker(process, errors)
            await worker.load()
            yield worker
        except TimeoutError as error:
            raise AgentError(f"the model was not loaded within {LOAD_S:.0f} s", where=str(path)) from error
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
