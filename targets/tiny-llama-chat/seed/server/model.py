# region: model.head
"""The model: transformers' generate(), driven token by token."""

from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, DynamicCache, StoppingCriteriaList
from transformers.utils import logging

from server import sampling
from server.config import Config
from server.protocol import GenerationRequest
from server.token_feed import TokenFeed

# endregion: model.head


class Model:
    # region: model.layers
    def __init__(self, config: Config) -> None:
        logging.disable_progress_bar()
        self.dtype = config.text("dtype")
        self._model = AutoModelForCausalLM.from_pretrained(
            config.model_dir, dtype=getattr(torch, self.dtype), attn_implementation=self._attention()
        ).eval()
        settings = self._model.generation_config
        self.eos = settings.eos_token_id
        # The engine decides where an answer ends, because only it knows about ignore_eos.
        settings.eos_token_id = None

    # endregion: model.layers

    # region: model.attention
    def _attention(self) -> str:
        return "sdpa"

    # endregion: model.attention

    # region: kv
    def _cache(self) -> DynamicCache:
        return DynamicCache()

    # endregion: kv

    # region: decode.step
    def generate(self, request: GenerationRequest, deliver: Callable[[int], bool]) -> None:
        """Generate until `deliver(token)` returns False."""
        ids = torch.tensor([request.prompt_ids])
        feed = TokenFeed(deliver)
        self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=self._cache(),
            max_new_tokens=request.max_tokens,
            streamer=feed,
            stopping_criteria=StoppingCriteriaList([feed]),
            **sampling.generate_arguments(request),
        )

    # endregion: decode.step
