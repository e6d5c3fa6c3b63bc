"""llama.cpp in process: GGUF files, constrained by a grammar made from the schema."""

from __future__ import annotations

import json
from pathlib import Path

from llama_cpp import Llama, LlamaGrammar

from vibeserve_tui.agents.local.completion import Ask, Completion, PromptTooLong

USUAL_CONTEXT = 16_384
"""A model's own may be so long that its cache does not fit into memory."""
TEMPERATURE = 0.6
"""Not greedy: a small model that repeats itself would do so for ever."""


class GgufModel:
    constrained = True

    def __init__(self, path: Path, context: int) -> None:
        wanted = min(context or USUAL_CONTEXT, _trained_context(path))
        self._llama = Llama(str(path), n_ctx=wanted, n_gpu_layers=-1, verbose=False)
        self.context = self._llama.n_ctx()

    def complete(self, ask: Ask) -> Completion:
        grammar = None if ask.grammar is None else LlamaGrammar.from_json_schema(json.dumps(ask.grammar), verbose=False)
        try:
            answer = self._llama.create_chat_completion(
                messages=[message.model_dump() for message in ask.messages],
                grammar=grammar,
                max_tokens=ask.max_tokens,
                temperature=TEMPERATURE,
                seed=ask.seed,
            )
        except ValueError as error:
            if "context window" in str(error):
                raise PromptTooLong(str(error)) from error
            raise
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(
            text=choice["message"]["content"] or "",
            prompt_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cut=choice["finish_reason"] == "length",
        )


def _trained_context(path: Path) -> int:
    """From the file's own description; nothing of the weights is read."""
    metadata = Llama(str(path), vocab_only=True, verbose=False).metadata
    return int(metadata.get(f"{metadata.get('general.architecture', '')}.context_length", USUAL_CONTEXT))
