"""bench URL --workload FILE: measure any OpenAI-compatible server with the load generator, in vLLM's keys."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path
from types import FrameType

from vibeserve_tui.errors import InputError

EXAMPLE = """
a workload file:
  path = "/v1/completions"
  tokenizer = "model"                 # folder with tokenizer.json, relative to this file
  level = { id = "c4", mode = "closed", concurrency = 4, requests = 32 }
  [workload]
  kind = "chat"
  corpus = "corpus.jsonl"
  prompt_tokens = { dist = "uniform", min = 48, max = 199 }
  output_tokens = { dist = "choice", values = [32, 48, 64] }
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLE
    parser.add_argument("url", metavar="URL", help="where the server listens, e.g. http://127.0.0.1:8000")
    parser.add_argument("--workload", type=Path, required=True, metavar="FILE", help="a TOML file, see below")
    parser.add_argument("--seed", type=int, default=None, help="of the draw; a new one each time unless given")
    parser.add_argument(
        "--key-from", default="", metavar="VARIABLE", help="environment variable with the server's API key"
    )
    parser.add_argument("--json", action="store_true", help="the whole result as JSON")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    from vibeserve_tui.evaluation.bench import bench, render

    signal.signal(signal.SIGTERM, _interrupt)  # else the load would go on without us until its time limit
    headers = _authorization(options.key_from)
    table = asyncio.run(bench(options.url, options.workload, seed=options.seed, headers=headers))
    print(json.dumps(table, indent=1) if options.json else render(table))
    return 0 if not table.get("failed") else 1


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """As ctrl-c does, which shells keep from what they start in the background."""
    raise KeyboardInterrupt


def _authorization(variable: str) -> dict[str, str]:
    if not variable:
        return {}
    if not (key := os.environ.get(variable)):
        raise InputError(f"the environment has no {variable}", where="--key-from", fix=f"export {variable}=…")
    return {"Authorization": f"Bearer {key}"}
