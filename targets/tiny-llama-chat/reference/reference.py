"""The truth for this target: transformers' Llama in fp32, greedy, one prompt at a time."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM


class Reference:
    """What an answer should have been, and how far an answer is from it."""

    def __init__(self, model_dir: str, device: str, dtype: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=getattr(torch, dtype), local_files_only=True
        )
        self.model.to(device).eval()
        end = self.model.generation_config.eos_token_id
        self.end_ids: list[int] = [end] if isinstance(end, int) else list(end or [])
        """Ids that end a text. `generate` goes on past them; who honours them cuts there."""

    @torch.inference_mode()
    def generate(self, prompt_ids: Sequence[int], n: int) -> list[int]:
        """`n` greedy tokens; of equal logits the lowest id wins."""
        output: list[int] = []
        step, cache = self._tensor(prompt_ids), None
        for _ in range(n):
            result = self.model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits, cache = result.logits[0, -1], result.past_key_values
            output.append(int((logits == logits.max()).nonzero()[0]))
            step = self._tensor(output[-1:])
        return output

    @torch.inference_mode()
    def gaps(self, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> list[float]:
        """Log p(best) − log p(emitted) at every output position, with the emitted text as context: 0 = greedy."""
        if not output_ids:
            return []
        context = self._tensor([*prompt_ids, *output_ids[:-1]])
        logits = self.model(context, use_cache=False, logits_to_keep=len(output_ids)).logits[0].double()
        emitted = logits.gather(-1, self._tensor(output_ids)[0].unsqueeze(-1)).squeeze(-1)
        return (logits.amax(-1) - emitted).tolist()

    @torch.inference_mode()
    def next_logprobs(self, prompt_ids: Sequence[int]) -> list[float]:
        """Log-probability of every token of the vocabulary as the first of an answer, at temperature 1."""
        logits = self.model(self._tensor(prompt_ids), use_cache=False, logits_to_keep=1).logits[0, -1]
        return torch.log_softmax(logits.double(), -1).tolist()

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self.model.device)
