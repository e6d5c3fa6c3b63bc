"""Hands every token of generate() to a callback at once, and stops generate() when the callback has had enough."""

from collections.abc import Callable

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer


class TokenFeed(BaseStreamer, StoppingCriteria):
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
