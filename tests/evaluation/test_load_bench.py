from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.evaluation import mock_server
from tests.evaluation.mock_server import Behaviour
from vibeserve_tui.errors import InputError, MeasurementError
from vibeserve_tui.evaluation.bench import bench, render
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.resources import Shipped, shipped_folder

TARGET = shipped_folder(Shipped.TARGETS) / "tiny-llama-chat"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mock_server.running(Behaviour(ttft_s=0.01, gap_s=0.002)) as (_, port):
        yield f"http://localhost:{port}"


@pytest.fixture
def workload_file(tmp_path: Path) -> Path:
    (tmp_path / "model").symlink_to(TARGET / "reference" / "model")
    (tmp_path / "corpus.jsonl").symlink_to(TARGET / "benchmark" / "corpus.jsonl")
    file = tmp_path / "load.toml"
    file.write_text(
        """
        tokenizer = "model"
        level = { id = "c2", mode = "closed", concurrency = 2, requests = 6 }
        slo = { ttft_ms = 5000 }
        [workload]
        kind = "chat"
        corpus = "corpus.jsonl"
        prompt_tokens = { dist = "fixed", value = 40 }
        output_tokens = { dist = "fixed", value = 8 }
        """
    )
    return file


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def own(table: dict[str, Json]) -> dict[str, Json]:
    figures = table["vibeserve"]
    assert isinstance(figures, dict)
    return figures


async def test_a_server_is_measured_under_a_declared_load(url: str, workload_file: Path):
    table = await bench(url, workload_file, seed=3)
    assert (table["completed"], table["failed"], table["seed"], table["max_concurrency"]) == (6, 0, 3, 2)
    assert (table["total_input_tokens"], table["total_output_tokens"]) == (240, 48)
    assert table["request_goodput"] == table["request_throughput"]
    assert own(table)["distinct_prompts"] == 6
    shown = render(table)
    assert "requests completed                     6" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("not to be"))


async def test_without_a_seed_every_run_draws_anew(url: str, workload_file: Path):
    assert (await bench(url, workload_file))["seed"] != (await bench(url, workload_file))["seed"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_model_name_is_sent_where_one_is_given(path: str, workload_file: Path):
    edit(workload_file, 'tokenizer = "model"', f'tokenizer = "model"\nmodel = "m"\npath = "{path}"')
    with mock_server.running(Behaviour(model="m")) as (_, port):
        table = await bench(f"http://127.0.0.1:{port}", workload_file)
    assert (table["completed"], table["failed"]) == (6, 0)


async def test_failures_and_doubts_are_shown_by_name(workload_file: Path):
    with mock_server.running(Behaviour(ttft_s=0.01, fault="http_429", fault_every=2, usage_extra=1)) as (_, port):
        table = await bench(f"http://127.0.0.1:{port}", workload_file)
    assert table["failed"] == 3
    shown = render(table)
    assert "failures: http_429 3" in shown
    assert "not to be relied upon: errors: 3 of 6 calls failed: http_429" in shown
    assert "not to be relied upon: usage:" in shown


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "https://127.0.0.1", "http://", "http://h:port", "http://127.0.0.1:80/v1", ""]
)
async def test_an_address_that_cannot_be_measured_is_refused(address: str, workload_file: Path):
    with pytest.raises(InputError, match="is no address to measure"):
        await bench(address, workload_file)


async def test_nobody_listening_is_said_before_any_load(workload_file: Path):
    with mock_server.running(Behaviour()) as (_, port):
        pass
    with pytest.raises(MeasurementError, match=f"nobody listens at 127.0.0.1:{port}"):
        await bench(f"http://127.0.0.1:{port}", workload_file)


async def test_a_wrong_workload_file_is_refused_with_its_field(url: str, workload_file: Path):
    edit(workload_file, "concurrency", "concurency")
    with pytest.raises(InputError, match="did you mean 'concurrency'"):
        await bench(url, workload_file)


def test_what_is_missing_is_shown_as_missing():
    shown = render({"completed": 0, "vibeserve": {}})
    assert "output tokens per second               –" in shown
    assert "TTFT, ms" in shown


async def test_a_server_that_sends_no_ids_is_not_accused_of_lying(workload_file: Path):
    with mock_server.running(Behaviour(ids=False)) as (_, port):
        table = await bench(f"http://127.0.0.1:{port}", workload_file, seed=3)
    assert (table["completed"], table["total_output_tokens"]) == (6, 48)
    assert not any(v["reason"] == "usage" for v in own(table)["violations"])  # type: ignore[union-attr,index,call-overload]


def started(url: str, workload_file: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vibeserve_tui", "bench", url, "--workload", str(workload_file), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("ending", "interrupts"),
    [(signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_IGN)],
    ids=["ctrl-c", "terminated", "terminated in the background of a shell"],
)
def test_ending_it_ends_its_load(workload_file: Path, ending: signal.Signals, interrupts: signal.Handlers):
    with mock_server.running(Behaviour(ttft_s=3600)) as (server, port):
        usual = signal.signal(signal.SIGINT, interrupts)  # which a child takes over
        process = started(f"http://127.0.0.1:{port}", workload_file)
        signal.signal(signal.SIGINT, usual)
        asked = psutil.Process(server.pid)
        wait_until(lambda: any(one.status == psutil.CONN_ESTABLISHED for one in asked.net_connections()))
        process.send_signal(ending)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
        wait_until(lambda: not any(one.status == psutil.CONN_ESTABLISHED for one in asked.net_connections()))


def test_a_server_s_key_comes_from_the_environment(workload_file: Path):
    with mock_server.running(Behaviour(key="sesame")) as (_, port):
        url = f"http://127.0.0.1:{port}"
        with started(url, workload_file, "--key-from", "A_KEY", "--json", A_KEY="sesame") as right:
            assert json.loads(right.communicate(timeout=30)[0])["failed"] == 0
        with started(url, workload_file, "--json") as wrong:
            assert json.loads(wrong.communicate(timeout=30)[0])["vibeserve"]["error_labels"] == {"http_401": 6}
        assert wrong.returncode == 1
    with started(url, workload_file, "--key-from", "NO_SUCH_KEY") as missing:
        assert "NO_SUCH_KEY" in missing.communicate(timeout=30)[1]
    assert missing.returncode == 2


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
