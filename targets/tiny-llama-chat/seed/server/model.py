"""The model: transformers' generate(), driven token by token."""

from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, DynamicCache, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from server import sampling
from server.config import Config
from server.protocol import GenerationRequest


class Model:
    # region: model.layers
    def __init__(self, config: Config) -> None:
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
        feed = _Feed(deliver)
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


class _Feed(BaseStreamer, StoppingCriteria):
    """Hands every token to a callback at once, and stops generate() when the callback has had enough."""

    def __init__(self, deliver: Callable[[int], bool]) -> None:
        self._deliver = deliver
        self._seen_prompt = False
        self._done = False

    def put(self, value: torch.Tensor) -> None:
        if not self._seen_prompt:  # generate() hands over the prompt first
            self._seen_prompt = True
            return
        self._done = not self._deliver(int(value))

    def end(self) -> None:
        pass

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.full((1,), self._done)
