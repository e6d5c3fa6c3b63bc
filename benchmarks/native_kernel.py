"""The native kernel against the torch runner and transformers' generate(), in one process, without HTTP.

    python benchmarks/native_kernel.py [--variant avx2] [--weights int8] [--threads 2] [--rounds 5]

All answer the same prompts, as long as those of the chat target. They take turns; each counts with its best round,
which is what it can do when nobody else is on the core.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from vibeserve_tui.recipes.apply import Applied, edit
from vibeserve_tui.recipes.facts import Facts
from vibeserve_tui.recipes.recipe import load_recipe
from vibeserve_tui.recipes.tree import write_changes

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "targets/tiny-llama-chat"
MODEL_DIR = TARGET / "reference/model"
CLIENTS = 16
NEW_TOKENS = 48
MAX_LEN = 2048

Tokens = list[list[int]]
Answer = Callable[[Tokens], Tokens]


class Logits(Protocol):
    def argmax(self) -> list[int]: ...


class Runner(Protocol):
    """What is used here of the runner interface."""

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits: ...
    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Logits: ...


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder))
        sys.path.insert(0, folder)
        slow, fast = open_torch(), open_native(Path(folder), options)
        prompts = draw_prompts()
        print(f"{'one client':28}", end="")
        report(options.rounds, prompts[:4], generate(), one_by_one(slow), one_by_one(fast))
        print(f"{f'{CLIENTS} clients':28}", end="")
        report(options.rounds, prompts, generate(), together(slow), together(fast))
        print("\nstep, microseconds        torch    native   ratio")
        for name, step in steps().items():
            before, after = quickest(step, slow), quickest(step, fast)
            print(f"{name:24} {before:8.0f} {after:8.0f}  {before / after:6.1f}x")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="", help="avx512, avx2, neon or scalar; the fastest by default")
    parser.add_argument("--weights", default="lossless", choices=["lossless", "int8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def assemble(folder: Path) -> None:
    """The seed with both recipes applied, as a run would have it."""
    shutil.copytree(TARGET / "seed", folder, dirs_exist_ok=True)
    for name in ("kv-cache-preallocate", "native-cpu-kernel"):
        result = edit(load_recipe(ROOT / "skills" / name / "recipe.toml"), {}, folder, Facts(backend="cpu"))
        if not isinstance(result, Applied):
            sys.exit(f"{name}: {result}")
        write_changes(folder, result.changes)


def open_torch() -> Runner:
    config = importlib.import_module("server.config").Config(
        {"dtype": "float32", "max_len": MAX_LEN, "max_batch": CLIENTS, "spare_slots": 0}, {"MODEL_DIR": str(MODEL_DIR)}
    )
    model: Runner = importlib.import_module("server.model").Model(config)
    return model


def open_native(folder: Path, options: argparse.Namespace) -> Runner:
    native = importlib.import_module("server.native")
    settings = native.Settings(options.threads, CLIENTS, MAX_LEN, options.weights, options.variant)
    begin = time.perf_counter()
    native.open_native(MODEL_DIR, folder, settings)
    compiled = time.perf_counter()
    model = native.open_native(MODEL_DIR, folder, settings)
    cached = time.perf_counter() - compiled
    print(f"{model.kernel}: ready after {compiled - begin:.2f} s, {cached:.2f} s when already compiled\n")
    runner: Runner = model
    return runner


def draw_prompts() -> Tokens:
    random = np.random.default_rng(0)
    return [random.integers(6, 1024, size=length).tolist() for length in random.integers(48, 200, size=CLIENTS)]


def generate() -> Answer:
    # Imported by name: its own annotations refuse every way of calling generate().
    transformers = importlib.import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    greedy = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    def answer(prompts: Tokens) -> Tokens:
        return [model.generate(torch.tensor([p]), **greedy)[0, len(p) :].tolist() for p in prompts]

    return answer


def one_by_one(runner: Runner) -> Answer:
    return lambda prompts: [together(runner)([prompt])[0] for prompt in prompts]


def together(runner: Runner) -> Answer:
    def answer(prompts: Tokens) -> Tokens:
        slots = range(len(prompts))
        answers = [runner.prefill(slot, prompt, 0).argmax() for slot, prompt in zip(slots, prompts, strict=True)]
        for step in range(NEW_TOKENS - 1):
            newest = [tokens[-1] for tokens in answers]
            positions = [len(prompt) + step for prompt in prompts]
            for tokens, token in zip(answers, runner.decode(slots, newest, positions).argmax(), strict=True):
                tokens.append(token)
        return answers

    return answer


def report(rounds: int, prompts: Tokens, *answers: Answer) -> None:
    """Tokens per second of each, the last over the others, and how many tokens agree with the first."""
    best = [float("inf")] * len(answers)
    for _ in range(rounds):
        found, taken = zip(*(timed(answer, prompts) for answer in answers), strict=True)
        best = [min(pair) for pair in zip(best, taken, strict=True)]
    total = len(prompts) * NEW_TOKENS
    equal = sum(
        a == b for mine, right in zip(found[-1], found[0], strict=True) for a, b in zip(mine, right, strict=True)
    )
    reference, before, after = (total / seconds for seconds in best)
    print(
        f"generate() {reference:5.0f}   torch {before:5.0f}   native {after:5.0f} tok/s   "
        f"{after / reference:5.1f}x generate()   {after / before:5.1f}x torch   equal to generate() {equal}/{total}"
    )


def timed(answer: Answer, prompts: Tokens) -> tuple[Tokens, float]:
    begin = time.perf_counter()
    return answer(prompts), time.perf_counter() - begin


def steps() -> dict[str, Callable[[Runner], object]]:
    found = {f"prefill of {length}": prefill(length) for length in (64, 512)}
    return found | {f"decode, batch {batch}": decode(batch) for batch in (1, 4, 16)}


def prefill(length: int) -> Callable[[Runner], object]:
    return lambda runner: runner.prefill(0, [7] * length, 0).argmax()


def decode(batch: int) -> Callable[[Runner], object]:
    slots, ids, positions = list(range(batch)), [7] * batch, [150] * batch
    return lambda runner: runner.decode(slots, ids, positions).argmax()


def quickest(step: Callable[[Runner], object], runner: Runner) -> float:
    """Microseconds of the best of many tries: what the code can do when nobody else is on the core."""
    taken = []
    for _ in range(40):
        begin = time.perf_counter()
        step(runner)
        taken.append(time.perf_counter() - begin)
    return min(taken) * 1e6


if __name__ == "__main__":
    main()
