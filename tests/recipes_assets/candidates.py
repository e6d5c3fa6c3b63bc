"""Candidates built from the shipped seed and recipes, and running servers of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from vibeserve_tui.recipes.chain import apply_chain
from vibeserve_tui.recipes.lint import SPECIMEN
from vibeserve_tui.recipes.params import Params
from vibeserve_tui.recipes.recipe import RecipeBook, load_recipe

ROOT = Path(__file__).parents[2]
SEED = ROOT / "targets/tiny-llama-chat/seed"
MODEL = ROOT / "targets/tiny-llama-chat/reference/model"
BOOK = RecipeBook(load_recipe(path) for path in sorted((ROOT / "skills").glob("*/recipe.toml")))
FACTS = replace(SPECIMEN, workload=replace(SPECIMEN.workload, max_concurrency=4, max_tokens_per_chunk=4))
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "greedy.json").read_text())
"""Prompts with what transformers answers in fp32, greedily; three begin alike, three carry a draft."""


def build(destination: Path, recipes: Mapping[str, Params]) -> Path:
    apply_chain(BOOK, recipes, SEED, destination, FACTS)
    return destination


def activation_counter(recipe: str) -> str:
    """The counter that shows that a recipe's code ran."""
    found = re.fullmatch(r"counter\('(\w+)'\) > 0", str(BOOK[recipe].spec.verify.activation))
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Server:
    """A candidate that is ready."""

    port: int
    process: subprocess.Popen[bytes]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = self.connect()
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, content)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def health(self) -> dict[str, Any]:
        return dict(self.call("GET", "/health")[1])

    def counter(self, name: str) -> int:
        return int(self.health()["counters"].get(name, 0))

    def complete(self, prompt: list[int] | str, max_tokens: int, **fields: object) -> dict[str, Any]:
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "return_token_ids": True, **fields}
        status, answer = self.call("POST", "/v1/completions", body)
        assert status == 200, answer
        return dict(answer)

    def ids(self, case: Mapping[str, Any], *, draft: str | None = None) -> list[int]:
        """The greedy answer to a case, with its own draft or another one."""
        text = case["draft"] if draft is None else draft
        fields = {"prediction": {"type": "content", "content": text}} if text else {}
        answer = self.complete(case["prompt"], len(case["output"]), ignore_eos=True, **fields)
        return list(answer["choices"][0]["token_ids"])

    def together(self, cases: list[dict[str, Any]]) -> list[list[int]]:
        with ThreadPoolExecutor(len(cases)) as clients:
            return list(clients.map(self.ids, cases))

    def events(self, path: str, body: Mapping[str, object]) -> list[Any]:
        """The parsed blocks of a stream, which must end with [DONE]."""
        connection = self.connect()
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        assert response.status == 200
        assert (response.getheader("content-type") or "").startswith("text/event-stream")
        *blocks, done, rest = response.read().split(b"\n\n")
        connection.close()
        assert (done, rest) == (b"data: [DONE]", b"")
        return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


@contextmanager
def served(tree: Path) -> Iterator[Server]:
    """A server of the tree in a process of its own, stopped again afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scratch = tree.parent / f"{tree.name}-scratch"
    scratch.mkdir(exist_ok=True)
    with (scratch / "log").open("wb") as log:
        process = start(tree, port, scratch, log)
    server = Server(port, process)
    try:
        _wait_until_ready(server, scratch / "log")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            process.kill()


def start(tree: Path, port: int, scratch: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"], "MODEL_DIR": str(MODEL), "HOST": "127.0.0.1", "PORT": str(port),
        "BUILD_DIR": str(scratch), "TMPDIR": str(scratch), "VIBESERVE_COMMIT": "abc123",
        "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "server"]
    return subprocess.Popen(command, cwd=tree, env=environment, stdout=log, stderr=log)


def _wait_until_ready(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.process.poll() is None, log.read_text()
        try:
            if server.call("GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()}")
