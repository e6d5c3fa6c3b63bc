# region: sample.pick
"""How the next token is chosen: greedy is the largest logit, the lowest id on ties."""

import torch

from server.protocol import GenerationRequest


def generate_arguments(request: GenerationRequest) -> dict[str, object]:
    """The sampling arguments of transformers' generate()."""
    if request.temperature == 0:
        return {"do_sample": False}
    if request.seed is not None:
        # The global generator is good enough: this server answers one request at a time.
        torch.manual_seed(request.seed)
    return {"do_sample": True, "temperature": request.temperature, "top_k": 0, "top_p": 1.0}


# endregion: sample.pick
