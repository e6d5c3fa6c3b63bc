"""mlx-lm in process: folders of safetensors, constrained by xgrammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import numpy as np
from mlx_lm import load, stream_generate
from mlx_lm.sample_utils import make_sampler
from pydantic import JsonValue

from vibeserve_tui.agents.local.completion import Ask, Completion, PromptTooLong

USUAL_CONTEXT = 16_384
TEMPERATURE = 0.6


class MlxModel:
    def __init__(self, path: Path, context: int) -> None:
        self._model, self._tokenizer = load(str(path))
        config = json.loads((path / "config.json").read_text("utf-8"))
        self._vocabulary = int(config["vocab_size"])
        self.context = min(context or USUAL_CONTEXT, int(config.get("max_position_embeddings", USUAL_CONTEXT)))
        self._compile = _compiler(self._tokenizer, self._vocabulary)
        self.constrained = self._compile is not None

    def complete(self, ask: Ask) -> Completion:
        messages = [message.model_dump() for message in ask.messages]
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        room = self.context - len(prompt)
        if room < 1:
            raise PromptTooLong(f"{len(prompt)} tokens, and the context has {self.context}")
        mx.random.seed(ask.seed)
        masks = [] if self._compile is None or ask.grammar is None else [self._compile(ask.grammar)]
        pieces: list[str] = []
        end, count = "", 0
        for part in stream_generate(
            self._model,
            self._tokenizer,
            prompt,
            max_tokens=min(ask.max_tokens, room),
            sampler=make_sampler(temp=TEMPERATURE),
            logits_processors=masks,
        ):
            pieces.append(part.text)
            end, count = part.finish_reason or "", part.generation_tokens
        return Completion(text="".join(pieces), prompt_tokens=len(prompt), output_tokens=count, cut=end == "length")


class Wrapper(Protocol):
    """mlx-lm's tokenizer; xgrammar knows the one of Hugging Face that it wraps."""

    _tokenizer: object


class Matcher(Protocol):
    def accept_token(self, token: int) -> bool: ...
    def is_terminated(self) -> bool: ...
    def fill_next_token_bitmask(self, bits: object) -> bool: ...


def _compiler(tokenizer: Wrapper, vocabulary: int) -> Callable[[dict[str, JsonValue]], _Mask] | None:
    """From a schema to a mask; None without xgrammar."""
    try:
        import xgrammar
    except ImportError:
        return None
    plain = tokenizer._tokenizer  # noqa: SLF001 - there is no other way to it
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(plain, vocab_size=vocabulary))

    def compiled(schema: dict[str, JsonValue]) -> _Mask:
        # Where blanks are free, a weak model writes nothing else.
        grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        return _Mask(xgrammar.GrammarMatcher(grammar), xgrammar.allocate_token_bitmask(1, vocabulary))

    return compiled


class _Mask:
    """Forbids every token that would leave the grammar; one sequence at a time."""

    def __init__(self, matcher: Matcher, bits: Bits) -> None:
        self._matcher = matcher
        self._bits = bits
        self._begun = False

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        if self._begun:
            self._matcher.accept_token(int(tokens[-1].item()))
        self._begun = True  # the first call shows the prompt
        if self._matcher.is_terminated():
            return logits
        self._matcher.fill_next_token_bitmask(self._bits)
        allowed = np.unpackbits(self._bits.numpy().view(np.uint8)[0], bitorder="little")[: logits.shape[-1]]
        return mx.where(mx.array(allowed.astype(bool)), logits, -mx.inf)


class Bits(Protocol):
    """One bit a token, 1 = allowed."""

    def numpy(self) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]: ...
