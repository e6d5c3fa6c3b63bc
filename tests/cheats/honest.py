"""Honest servers, optimised in every way that the recipes know and in some that they do not: all must pass."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.cheats.laboratory import Laboratory, tree_of


@dataclass(frozen=True, slots=True)
class Honest:
    name: str
    recipes: tuple[str, ...] = ()
    """On top of the seed; empty with a file: on top of the fast tree."""
    accuracy: str = "exact"
    """The class that it needs."""
    file: str = ""
    code: str = ""

    def tree(self, lab: Laboratory, destination: Path) -> Path:
        seed = lab.target.file(lab.target.spec.seed)
        if not self.file:
            return tree_of(self.recipes, seed, destination)
        tree = Path(shutil.copytree(lab.honest, destination))
        with (tree / self.file).open("a", encoding="utf-8") as file:
            file.write(dedent(self.code))
        return tree


HONEST = [
    Honest("another process beside the server", file="server/tokens.py", code="""

        import multiprocessing

        from tokenizers import Tokenizer as _Tokenizer


        def _encode_all(path, pipe):
            encode = _Tokenizer.from_file(path).encode
            while True:
                arguments, settings = pipe.recv()
                pipe.send(encode(*arguments, **settings).ids)


        class _Encoding:
            def __init__(self, ids):
                self.ids = ids


        _open = Tokens.__init__


        def opened(self, model_dir):
            _open(self, model_dir)
            ours, theirs = multiprocessing.get_context("fork").Pipe()
            arguments = (str(model_dir / "tokenizer.json"), theirs)
            multiprocessing.get_context("fork").Process(target=_encode_all, args=arguments, daemon=True).start()

            def encode(*arguments, **settings):
                ours.send((arguments, settings))
                return _Encoding(ours.recv())

            self._encode = encode


        Tokens.__init__ = opened
        """),
    Honest("the seed"),
    Honest("own layers over a static cache", ("kv-cache-preallocate",)),
    Honest("continuous batching, plain HTTP", ("continuous-batching", "http-path")),
    Honest("chunked prefill", ("continuous-batching", "chunked-prefill")),
    Honest("prefix cache", ("continuous-batching", "prefix-cache-radix")),
    Honest("fused projections", ("continuous-batching", "fused-qkv-and-gate-up", "batched-sampling-no-sync")),
    Honest("static batching", ("static-batching-window",)),
    Honest("two threads", ("continuous-batching", "thread-count-and-affinity")),
    Honest("verified predictions", ("predicted-outputs",)),
    Honest("cached encodings", ("tokenizer-cache-and-parallel", "continuous-batching")),
    Honest("native kernel", ("native-cpu-kernel", "continuous-batching", "http-path")),
    Honest("bf16 arithmetic", ("continuous-batching", "bf16-on-cpu"), "numeric"),
    Honest("int8 in the native kernel", ("native-kernel-int8", "continuous-batching"), "numeric"),
    Honest("dynamic int8", ("continuous-batching", "weight-int8-dynamic"), "quantised"),
]  # fmt: skip
