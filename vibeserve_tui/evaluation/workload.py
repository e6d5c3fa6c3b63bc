"""The declared workload as requests: distribution × seed × counter, nothing else.

`slice(seed, i, n)` is a pure function, so champion and candidate get the same requests, every
pair gets others, and a recorded evaluation can be replayed from two numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from vibeserve_tui.errors import TargetError
from vibeserve_tui.evaluation.corpus import Corpus, read_corpus
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.inputs.workload_spec import (
    ChosenLength,
    FixedLength,
    Lengths,
    LognormalLength,
    UniformLength,
    WorkloadKind,
    WorkloadSpec,
)

CHAT_PATH = "/v1/chat/completions"
TRIES = 64
"""Draws of one prompt before the corpus is called too small, or of one length before its range is."""
DRAWN_KINDS = (WorkloadKind.CHAT, WorkloadKind.TEXT, WorkloadKind.SHARED_PREFIX, WorkloadKind.PROGRAM)


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """What is asked. The same for every server; how it is sent is `call`'s business."""

    prompt_ids: tuple[int, ...]
    text: str
    """The user's words, for endpoints that take messages."""
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    """For sampling; None when greedy."""
    ignore_eos: bool = False
    at_s: float = 0.0
    """When a trace sends it."""

    def body(self, path: str) -> dict[str, Json]:
        """As in every phase, checked or timed: streamed, with token ids and usage."""
        prompt: dict[str, Json] = {"prompt": list(self.prompt_ids)}
        if path == CHAT_PATH:
            prompt = {"messages": [{"role": "user", "content": self.text}]}
        body: dict[str, Json] = {
            **prompt,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        if self.seed is not None:
            body["seed"] = self.seed
        return body

    def call(self, name: str, path: str) -> Call:
        # The length of a chat prompt is known only to whoever applies the template to the text.
        known = None if path == CHAT_PATH else len(self.prompt_ids)
        return Call(id=name, path=path, body=self.body(path), prompt_tokens=known, at_s=self.at_s)


def calls_of(requests: Iterable[PlannedRequest], path: str) -> tuple[Call, ...]:
    return tuple(request.call(f"r{number}", path) for number, request in enumerate(requests))


@dataclass(frozen=True, slots=True)
class Workload:
    spec: WorkloadSpec
    corpus: Corpus

    @classmethod
    def load(cls, target: LoadedTarget) -> Workload:
        spec = target.spec.workload
        return cls.read(spec, target.root, target.model_dir)

    @classmethod
    def read(cls, spec: WorkloadSpec, root: Path, model_dir: Path) -> Workload:
        """`spec.corpus` is relative to `root`; `model_dir` has the tokenizer."""
        if spec.kind is WorkloadKind.PROGRAM and None in (spec.corpus, spec.prompt_tokens, spec.output_tokens):
            raise TargetError(
                "the benchmark brings its own requests, but the judge has none to ask",
                where=f"{root}: workload",
                fix="give corpus, prompt_tokens and output_tokens too",
            )
        if spec.kind not in DRAWN_KINDS or spec.corpus is None:
            raise TargetError(
                f"no generator draws workloads of kind {spec.kind}",
                where=str(root),
                fix=f"one of {', '.join(DRAWN_KINDS)}",
            )
        corpus = read_corpus(root / spec.corpus, model_dir)
        found = WorkloadKind.CHAT if corpus.questions else WorkloadKind.TEXT
        if spec.kind not in (found, WorkloadKind.SHARED_PREFIX, WorkloadKind.PROGRAM):
            raise TargetError(
                f"the corpus is one for kind {found}, the workload says {spec.kind}",
                where=str(root / spec.corpus),
                fix="chat takes lines with `messages`, text takes lines with `text`",
            )
        return cls(spec, corpus)

    @property
    def sha256(self) -> str:
        """Of the definition: declaration, corpus, tokenizer. Figures of two digests do not compare."""
        declared = json.dumps(self.spec.model_dump(mode="json", exclude={"corpus", "public_draw"}), sort_keys=True)
        return hashlib.sha256(f"{declared}\0{self.corpus.sha256}".encode()).hexdigest()

    def draw(self, seed: int, count: int) -> tuple[PlannedRequest, ...]:
        return self.slice(seed, 0, count)

    def slice(self, seed: int, index: int, requests: int) -> tuple[PlannedRequest, ...]:
        """The `index`-th list of requests of a seed."""
        draw = self._random(seed, index)
        prefix = self._shared_prefix(seed)
        seen: set[tuple[int, ...]] = set()
        drawn = []
        for _ in range(requests):
            content = self._new_content(draw, seen)
            seen.add(content)
            drawn.append(self._request(draw, prefix + content))
        return tuple(drawn)

    def prompt(self, draw: Random, length: int) -> tuple[int, ...]:
        """A prompt of exactly `length` ids, as the declared ones but for its length."""
        return self.corpus.prompt(self.corpus.content(draw, self._content_length(length)))

    def _request(self, draw: Random, content: tuple[int, ...]) -> PlannedRequest:
        spec = self.spec
        assert spec.output_tokens is not None, "the declaration checks this"
        return PlannedRequest(
            prompt_ids=self.corpus.prompt(content),
            text=self.corpus.text(content),
            max_tokens=draw_length(spec.output_tokens, draw),
            temperature=spec.temperature,
            seed=draw.getrandbits(31) if spec.temperature > 0 else None,
            ignore_eos=spec.ignore_eos,
        )

    def _new_content(self, draw: Random, seen: set[tuple[int, ...]]) -> tuple[int, ...]:
        assert self.spec.prompt_tokens is not None, "the declaration checks this"
        for _ in range(TRIES):
            length = draw_length(self.spec.prompt_tokens, draw)
            content = self.corpus.content(draw, self._content_length(length))
            if content not in seen or not self.spec.distinct:
                return content
        raise TargetError(
            f"the corpus gives no more than about {len(seen)} distinct prompts",
            where=f"workload.corpus = {self.spec.corpus!r}",
            fix="give it more lines, ask for fewer requests, or set workload.distinct = false",
        )

    def _content_length(self, length: int) -> int:
        if length <= self.corpus.overhead:
            raise TargetError(
                f"a prompt of {length} tokens cannot hold the chat template's {self.corpus.overhead}",
                where="workload.prompt_tokens",
                fix="raise the shortest length",
            )
        return length - self.corpus.overhead

    def _shared_prefix(self, seed: int) -> tuple[int, ...]:
        """One for all slices of a seed: a warm-up then finds the cache as a running server would."""
        tokens = self.spec.options.prefix_tokens
        return () if tokens is None else self.corpus.passage(self._random(seed, "prefix"), tokens)

    def _random(self, seed: int, part: int | str) -> Random:
        return Random(hashlib.sha256(f"{self.sha256}:{seed}:{part}".encode()).digest())


def draw_length(lengths: Lengths, draw: Random) -> int:
    match lengths:
        case FixedLength():
            return lengths.value
        case ChosenLength():
            return draw.choice(lengths.values)
        case UniformLength():
            return draw.randint(lengths.min, lengths.max)
        case LognormalLength():
            for _ in range(TRIES):
                length = round(lengths.median * draw.lognormvariate(0.0, lengths.sigma))
                if lengths.min <= length <= lengths.max:
                    return length
            raise TargetError(
                f"lognormal lengths around {lengths.median:g} hardly ever fall into {lengths.min} to {lengths.max}",
                where="workload",
                fix="move the median into the range or widen it",
            )


class Position(StrEnum):
    FIRST = "first"
    EARLY = "early"
    LATE = "late"
    LAST = "last"


def perturb(ids: Sequence[int], position: Position, vocabulary: Sequence[int], draw: Random) -> tuple[int, ...]:
    """The prompt with one other token: an answer found by a fuzzy key is then the wrong one.

    `vocabulary` holds ≥ 2 ordinary ids, such as those of the corpus. In either half it is drawn which token: a key may
    hold any but all of them.
    """
    last = len(ids) - 1
    middle = min(max(2, len(ids) // 2), last)
    early, late = draw.randrange(1, max(2, middle)), draw.randrange(middle, max(last, middle + 1))
    index = {Position.FIRST: 0, Position.EARLY: min(early, last), Position.LATE: late, Position.LAST: last}[position]
    other = draw.choice([token for token in vocabulary if token != ids[index]])
    return (*ids[:index], other, *ids[index + 1 :])
