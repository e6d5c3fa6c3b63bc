"""The reference's own process: JSON lines in, JSON lines out. Standard library and the target's code only.

It is started once per run, because importing a framework takes seconds, and ends when its
input ends. It is run by path, so a box needs to show it nothing of the package but this file.

    {"id": 1, "op": "load", "model_dir": "…"}                              → {"id": 1, "value": {"end_ids": […]}}
    {"id": 2, "op": "generate", "items": [[prompt_ids, n], …], "at_once": 1} → {"id": 2, "value": [[id, …], …]}
    {"id": 3, "op": "gaps", "items": [[prompt_ids, output_ids], …]}        → {"id": 3, "value": [[gap, …], …]}
    {"id": 4, "op": "next_logprobs", "items": [[prompt_ids], …]}           → {"id": 4, "value": [[logprob, …], …]}
    anything the reference raises                                          → {"id": 5, "error": "ValueError: …"}
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TextIO


class Reference(Protocol):
    """What a target's reference class offers for text."""

    end_ids: Sequence[int]

    def generate(self, prompt_ids: Sequence[int], n: int, /) -> list[int]: ...
    def gaps(self, prompt_ids: Sequence[int], output_ids: Sequence[int], /) -> list[float]: ...
    def next_logprobs(self, prompt_ids: Sequence[int], /) -> list[float]: ...


MakeReference = Callable[[str, str, str], Reference]


class Worker:
    """Holds at most one model: loading another one replaces it."""

    def __init__(self, make: MakeReference, device: str, dtype: str, change: str = "") -> None:
        self._make = make
        self._device = device
        self._dtype = dtype
        self._change = CHANGES[change]
        self._step = Step()
        self._reference: Reference | None = None

    def answer(self, op: str, request: dict[str, Any]) -> object:
        if op == "load":
            self._reference = None  # first: two models need not fit into memory
            self._reference = self._make(request["model_dir"], self._device, self._dtype)
            self._change(self._reference, self._step)
            return {"end_ids": list(self._reference.end_ids)}
        if self._reference is None:
            raise ValueError("no model is loaded")
        # One item at a time: on a CPU a padded batch of 16 took longer per prompt (25 ms) than 16 single passes
        # (14 ms each), and the truth must not depend on who else is asked.
        methods: dict[str, Callable[..., object]] = {
            "generate": self._reference.generate,
            "gaps": self._reference.gaps,
            "next_logprobs": self._reference.next_logprobs,
        }
        method, items, at_once = methods[op], request["items"], request.get("at_once", 1)
        if at_once == 1:
            return [method(*item) for item in items]
        groups = [items[first : first + at_once] for first in range(0, len(items), at_once)]
        return [answer for group in groups for answer in self._together(method, group)]

    def _together(self, method: Callable[..., object], items: Sequence[Sequence[Any]]) -> list[object]:
        """In step with one another, each in a thread of its own: what is rounded is rounded for all of them at once."""

        def one(item: Sequence[Any]) -> object:
            try:
                return method(*item)
            finally:
                self._step.leave()

        self._step.open(len(items))
        with ThreadPoolExecutor(len(items)) as threads:
            return list(threads.map(one, items))


class Step:
    """One layer of one step of a batch: whoever comes waits for all others, and hears the range of what all brought.

    Alone, one hears its own.
    """

    def __init__(self) -> None:
        self._members = 0
        self._brought: list[tuple[Any, Any]] = []
        self._range: tuple[Any, Any] = (0.0, 0.0)
        self._number = 0
        self._change = threading.Condition()

    def open(self, members: int) -> None:
        self._members = members

    def leave(self) -> None:
        with self._change:
            self._members -= 1
            self._close_if_complete()

    def range_of_all(self, low: Any, high: Any) -> tuple[Any, Any]:
        with self._change:
            number = self._number
            self._brought.append((low, high))
            self._close_if_complete()
            self._change.wait_for(lambda: self._number != number)
            return self._range  # of this step: the next one cannot close before everybody has left this one

    def _close_if_complete(self) -> None:
        if self._brought and len(self._brought) >= self._members:
            lows, highs = zip(*self._brought, strict=True)
            self._range = (min(lows), max(highs))
            self._brought.clear()
            self._number += 1
            self._change.notify_all()


# ---- other arithmetic, for calibration: what engines that round would answer ----------------------------------------


def _int8_weights(reference: Reference, _step: Step) -> None:
    """Matrices in 8 bits, one scale per output; the arithmetic stays."""
    torch: Any = sys.modules["torch"]
    for layer in _linears(reference):
        weight = layer.weight.detach()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-8) / 127
        # A new parameter: a matrix that is also the embedding is looked up unrounded.
        layer.weight = torch.nn.Parameter((weight / scale).round().clamp(-127, 127) * scale, requires_grad=False)


def _int8_activations(reference: Reference, step: Step) -> None:
    """Matrices in 8 bits, and what they are multiplied with too: one scale and zero point for all rows of a step."""
    torch: Any = sys.modules["torch"]

    def rounded(_layer: object, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = inputs
        low, high = step.range_of_all(x.amin().clamp_max(0), x.amax().clamp_min(0))
        scale = ((high - low) / 255).clamp_min(1e-8)
        zero = (-low / scale).round()
        return ((torch.clamp((x / scale).round() + zero, 0, 255) - zero) * scale, *rest)

    _int8_weights(reference, step)
    for layer in _linears(reference):
        layer.register_forward_pre_hook(rounded)


def _skipped_layer(reference: Reference, _step: Step) -> None:
    """The middle one of the model's layers adds nothing: what no limit may let pass."""
    torch: Any = sys.modules["torch"]
    stacks = [
        part for model in _modules(reference) for part in model.modules() if isinstance(part, torch.nn.ModuleList)
    ]
    layers = max(stacks, key=len)
    for part in layers[len(layers) // 2].modules():
        if isinstance(part, torch.nn.Linear):
            part.weight = torch.nn.Parameter(torch.zeros_like(part.weight), requires_grad=False)


def _modules(reference: Reference) -> list[Any]:
    torch: Any = sys.modules["torch"]
    return [part for part in vars(reference).values() if isinstance(part, torch.nn.Module)]


def _linears(reference: Reference) -> list[Any]:
    torch: Any = sys.modules["torch"]
    parts = [part for model in _modules(reference) for part in model.modules()]
    found = [part for part in parts if isinstance(part, torch.nn.Linear)]
    if not found:
        raise ValueError("the reference holds no torch.nn.Linear whose weights could be rounded")
    return found


CHANGES: dict[str, Callable[[Reference, Step], None]] = {
    "": lambda _reference, _step: None,
    "int8-weights": _int8_weights,
    "int8-activations": _int8_activations,
    "skipped-layer": _skipped_layer,
}


def load_class(reference: str) -> MakeReference:
    """The class named by `path/to/file.py:Class`; the file may import its neighbours."""
    path, _, name = reference.rpartition(":")
    spec = importlib.util.spec_from_file_location("target_reference", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    sys.path.insert(0, str(Path(path).parent))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make: MakeReference = getattr(module, name)
    return make


def serve(worker: Worker, requests: TextIO, replies: TextIO) -> None:
    for line in requests:
        request = json.loads(line)
        reply: dict[str, object] = {"id": request["id"]}
        try:
            reply["value"] = worker.answer(request["op"], request)
            text = json.dumps(reply, allow_nan=False)
        except Exception as error:  # noqa: BLE001  foreign code may raise anything; the engine decides what follows
            traceback.print_exc()
            text = json.dumps({"id": request["id"], "error": f"{type(error).__name__}: {error}"[:500]})
        print(text, file=replies, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", required=True, metavar="FILE.py:CLASS")
    parser.add_argument("--device", required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--change", default="", choices=list(CHANGES), help="other arithmetic than the truth's")
    options = parser.parse_args()
    # Libraries print to stdout as they like; the replies go out on a descriptor that they do not know.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(load_class(options.reference), options.device, options.dtype, options.change)
    serve(worker, sys.stdin, replies)


if __name__ == "__main__":
    main()
