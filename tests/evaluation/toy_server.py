"""A server of the toy target's arithmetic model, in process: it answers calls, costs CPU time, and can misbehave."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.evaluation.toy_target import MODEL
from vibeserve_tui.evaluation.corpus import Corpus
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport, Usage
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Listener, ProcessInfo
from vibeserve_tui.execution.box import Usage as BoxUsage

NAMES: dict[str, object] = {}
exec(MODEL, NAMES)  # noqa: S102  the very model that the reference runs
PORT = 8000
LONG = 30
"""Tokens of a prompt."""
ENDED_WELL = BoxResult(0, b"", b"", 0.1, 0.1, 10.0, None)


@dataclass
class ToyServer:
    corpus: Corpus
    model_dir: Path
    commit: str = ""
    s_per_token: float = 0.001
    s_per_answer: float = 0.001
    """For its prompt."""
    keeps_prompts: bool = False
    """A prompt costs nothing when it comes again."""
    guessed: float = 1.0
    """What a token costs that a long prompt tells."""
    s_to_send: float = 0.0
    """Which the calls wait for, all of them together."""
    idle_share: float = 0.001
    spoil: Callable[[CallReport], None] = lambda report: None
    """Changes an answer before it is seen."""
    is_stored: Callable[[tuple[int, ...]], bool] = lambda prompt: False
    """Whether a prompt's answer costs no tokens."""
    burns: bool = False
    """What a stored answer saves of CPU time, but not of other time."""
    ended: BoxResult = ENDED_WELL
    """What a program beside it comes to."""
    cpu_s: float = 0.0
    asked: list[Call] = field(default_factory=list)
    tree: tuple[ProcessInfo, ...] = (ProcessInfo(10, 1, "python -m server", 0.0),)
    sockets: tuple[Listener, ...] = (Listener(10, "tcp", PORT),)

    def __post_init__(self) -> None:
        self._seen: set[tuple[int, ...]] = set()
        self._model = NAMES["Reference"](str(self.model_dir), "cpu", "float32")  # type: ignore[operator]

    @property
    def health(self) -> dict[str, object]:
        return {"status": "ready", "commit": self.commit}

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", PORT

    async def send(self, calls: Sequence[Call], *, concurrency: int) -> list[CallReport]:
        self.asked += calls
        await asyncio.sleep(self.s_to_send)
        return [self._answer(call) for call in calls]

    async def usage(self) -> BoxUsage:
        self.cpu_s += self.idle_share * 0.4
        return BoxUsage(self.cpu_s, 10.0, 10.0, len(self.tree), 1)

    async def processes(self) -> tuple[ProcessInfo, ...]:
        return self.tree

    async def listening(self) -> tuple[Listener, ...]:
        return self.sockets

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult:
        return self.ended

    def _answer(self, call: Call) -> CallReport:
        report = CallReport(call.id, 0.0, t_sent=0.0, t_end=1.0, status=200, prompt_tokens=call.prompt_tokens)
        try:
            self._generate(call, report)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            report.status, report.error, report.body = 400, "http_400", {"error": {"message": str(error)}}
        else:
            self.spoil(report)
        return report

    def _generate(self, call: Call, report: CallReport) -> None:
        body = json.loads(call.raw.decode()) if call.raw is not None else call.body
        prompt = self._prompt(body)
        limit = body.get("max_tokens", 16)
        fine = isinstance(limit, int) and 0 < limit <= 2048 - len(prompt) and max(prompt) < 1024
        numbers = isinstance(body.get("temperature", 0), int | float) and isinstance(body.get("stream", False), bool)
        if not (fine and numbers) or body.get("logprobs"):
            raise ValueError("a field is not as it should be")
        ids, finish = self._tokens(prompt, limit, body)
        stored = self.is_stored(prompt)
        begun = 0.0 if self.keeps_prompts and prompt in self._seen else self.s_per_answer
        self._seen.add(prompt)
        step = self.s_per_token * (self.guessed if len(prompt) > LONG else 1.0)
        self.cpu_s += begun + (0 if stored and not self.burns else step * len(ids))
        self._fill(report, call, prompt, ids, finish)
        spacing = 0.0 if stored else step
        report.chunk_t = [begun + spacing * number for number in range(1, len(report.chunk_t) + 1)]

    def _prompt(self, body: dict[str, Json]) -> tuple[int, ...]:
        if "messages" in body:
            (message,) = body["messages"]
            return self.corpus.prompt(self.corpus.tokenizer.encode(message["content"]).ids)
        prompt = body["prompt"]
        return tuple(self.corpus.tokenizer.encode(prompt).ids if isinstance(prompt, str) else prompt)

    def _tokens(self, prompt: tuple[int, ...], limit: int, body: dict[str, Json]) -> tuple[list[int], str]:
        """Greedy is the model's; at any temperature its distribution is uniform."""
        rng = random.Random(body.get("seed")) if body.get("temperature") else None
        ids: list[int] = []
        text_stop = (body.get("stop") or [None])[0]
        while len(ids) < limit:
            token = rng.randrange(1024) if rng else self._model.best([*prompt, *ids])
            if token == 2 and not body.get("ignore_eos"):
                return ids, "stop"
            ids.append(token)
            if text_stop and text_stop in self.corpus.tokenizer.decode(ids):
                return ids, "stop"
        return ids, "length"

    def _fill(self, report: CallReport, call: Call, prompt: tuple[int, ...], ids: list[int], finish: str) -> None:
        decode = self.corpus.tokenizer.decode
        text = decode(ids)
        if isinstance(call.body, dict) and (stop := call.body.get("stop")):
            text = text[: text.index(stop[0])] if stop[0] in text else text
        report.usage = Usage(len(prompt), len(ids))
        report.finish_reason = finish
        usage: dict[str, Json] = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        report.body = {"choices": [{"text": text, "finish_reason": finish, "token_ids": list(ids)}], "usage": usage}
        if call.stream:
            shown = [len(decode(ids[: n + 1]).rstrip("\ufffd")) for n in range(len(ids))]
            shown = [0, *(min(n, len(text)) for n in shown[:-1]), len(text)]
            report.chunk_ids = [[token] for token in ids]
            report.chunk_text = [text[a:b] for a, b in itertools.pairwise(shown)]
            report.chunk_t = [0.0] * len(ids)
