"""The load generator against a real server process that behaves as told."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import psutil
import pytest

from tests.evaluation import mock_server
from tests.evaluation.load_windows import calls, plan
from tests.evaluation.mock_server import Behaviour
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.load import LoadGenerator
from vibeserve_tui.evaluation.load_client import COMMAND, report_of
from vibeserve_tui.evaluation.load_plan import Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import CallReport, Fault, LoadReport
from vibeserve_tui.evaluation.load_summary import samples_ms
from vibeserve_tui.evaluation.load_validity import LAG_LIMIT_MS, Reason, violations

STAMP_ERROR_S = 0.002


def run(planned: LoadPlan) -> LoadReport:
    """As a run does it: in a process of its own."""
    ended = subprocess.run(COMMAND, input=planned.to_bytes(), capture_output=True, timeout=60, check=False)
    return report_of(ended.returncode, ended.stdout, ended.stderr)


def run_on_time(planned: LoadPlan) -> LoadReport:
    """A window in which the machine let the client run: late ones say so and are repeated, as in a gate."""
    for _ in range(4):
        report = run(planned)
        if report.client.loop_lag.p99_ms < LAG_LIMIT_MS:
            return report
    pytest.skip(f"too busy to time anything: the client was {report.client.loop_lag.p99_ms:.0f} ms late")


def started(planned: LoadPlan) -> subprocess.Popen[bytes]:
    """A client that is some tokens into its window."""
    client = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None
    client.stdin.write(planned.to_bytes())
    client.stdin.close()
    while not psutil.Process(client.pid).net_connections():
        time.sleep(0.01)
    time.sleep(0.2)
    return client


def finished(client: subprocess.Popen[bytes]) -> LoadReport:
    assert client.stdout is not None
    with client, client.stdout:
        return LoadReport.from_bytes(client.stdout.read())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of an honest, fast server."""
    with mock_server.running(Behaviour(ttft_s=0.005, gap_s=0.001)) as (_, port):
        yield port


def written(call: CallReport) -> list[float]:
    """When the server wrote each token, on the machine's monotonic clock."""
    assert call.events is not None
    sent = [event["sent_s"] for event in call.events if isinstance(event, dict) and "sent_s" in event]
    return [sent_s for sent_s in sent if isinstance(sent_s, float)]


def stamp_errors(report: LoadReport) -> list[float]:
    """Client's time of each token minus the server's time of writing it."""
    pairs = (pair for call in report.calls for pair in zip(call.chunk_t, written(call), strict=True))
    return [report.t0_monotonic_s + t - sent_s for t, sent_s in pairs]


@pytest.mark.parametrize("streams", [1, 16, 64])
def test_tokens_are_stamped_when_the_server_writes_them(streams: int):
    kept = (replace(call, keep_events=True) for call in calls(2 * streams, max_tokens=10))
    with mock_server.running(Behaviour(ttft_s=0.02, gap_s=0.02, jitter_s=0.02)) as (_, port):
        report = run_on_time(plan(*kept, port=port, concurrency=streams))
    errors = stamp_errors(report)
    assert len(errors) == 2 * streams * 10
    assert min(errors) > -1e-5
    assert statistics.median(errors) < STAMP_ERROR_S


def test_known_latencies_are_reported():
    """Held against the server's own clock, as a busy machine makes the server late, too."""
    kept = (replace(call, keep_events=True) for call in calls(8, max_tokens=12))
    with mock_server.running(Behaviour(ttft_s=0.03, gap_s=0.01)) as (_, port):
        report = run_on_time(plan(*kept, port=port))
    gaps_ms = [1000 * (b - a) for call in report.calls for a, b in pairwise(written(call))]
    firsts_ms = [
        1000 * (written(call)[0] - report.t0_monotonic_s - call.t_sent)
        for call in report.calls
        if call.t_sent is not None
    ]
    measured = samples_ms(report)
    assert min(firsts_ms) > 30
    assert len(measured["itl_ms"]) == len(gaps_ms) == 8 * 11
    assert statistics.median(measured["ttft_ms"]) == pytest.approx(statistics.median(firsts_ms), abs=2)
    assert statistics.median(measured["itl_ms"]) == pytest.approx(statistics.median(gaps_ms), abs=2)
    assert statistics.median(measured["tpot_ms"]) == pytest.approx(statistics.fmean(gaps_ms), abs=2)
    assert report.client.connections == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(split_bytes=5),
        Behaviour(split_bytes=64, line_break="\r\n"),
        Behaviour(keep_alive=False),
        Behaviour(tokens_per_chunk=3),
    ],
    ids=["5 bytes a packet", "CRLF", "closes", "3 tokens a chunk"],
)
def test_text_and_tokens_arrive_whole(behaviour: Behaviour):
    with mock_server.running(behaviour) as (_, port):
        report = run(plan(*calls(2, max_tokens=7), port=port))
    for call in report.calls:
        assert (call.error, call.finish_reason, call.token_ids) == ("", "length", list(range(7)))
        assert call.text == "".join(map(mock_server.word, range(7)))
        assert call.usage is not None
        assert call.usage.completion_tokens == 7
        assert len(call.chunk_t) == len(call.chunk_ids) == -(-7 // behaviour.tokens_per_chunk)


def test_chat_deltas_are_read_like_completions(port: int):
    chat = calls(1, max_tokens=4, path="/v1/chat/completions", messages=[{"role": "user", "content": "hi"}])
    (call,) = run(plan(*chat, port=port)).calls
    assert (call.error, call.token_ids, call.text) == ("", [0, 1, 2, 3], "so naïve — 日本 ")
    assert len(call.chunk_t) == 4


@pytest.fixture(scope="module")
def faulty_calls(port: int) -> dict[str, CallReport]:
    """One call per fault, and a good one behind each, on two connections."""
    faulty = [replace(call, id=fault, timeout_s=0.4) for fault in mock_server.FAULTS for call in calls(1, fault=fault)]
    good = [replace(call, id=f"behind {fault}") for fault in mock_server.FAULTS for call in calls(1)]
    mixed = [call for pair in zip(faulty, good, strict=True) for call in pair]
    return {call.id: call for call in run(plan(*mixed, port=port, concurrency=2)).calls}


@pytest.mark.parametrize("fault", mock_server.FAULTS)
def test_each_fault_has_its_own_label(fault: str, faulty_calls: dict[str, CallReport]):
    call = faulty_calls[fault]
    assert call.error == fault
    assert call.t_end is not None
    assert faulty_calls[f"behind {fault}"].error == ""


def test_tokens_before_a_fault_are_kept(faulty_calls: dict[str, CallReport]):
    for fault in mock_server.FAULTS_WITHIN_A_STREAM:
        assert faulty_calls[fault].token_ids == [0, 1]


def test_a_refusal_comes_with_the_servers_words(faulty_calls: dict[str, CallReport]):
    assert faulty_calls["http_429"].status == 429
    assert faulty_calls["http_429"].body == {"error": {"message": "too many requests", "type": "rate_limit"}}


def test_nobody_listening_is_refused():
    with mock_server.running(Behaviour()) as (_, port):
        pass
    report = run(plan(*calls(3), port=port))
    assert {call.error for call in report.calls} == {Fault.REFUSED}


def test_a_reply_without_streaming_is_given_back_as_json(port: int):
    whole = Call("whole", "/v1/completions", {"prompt": "a b", "max_tokens": 2}, stream=False)
    (call,) = run(plan(whole, port=port)).calls
    assert isinstance(call.body, dict)
    assert call.body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert (call.error, call.status, call.chunk_t) == ("", 200, [])


def test_a_malformed_request_is_sent_as_it_is(port: int):
    malformed = Call("malformed", "/v1/completions", raw=b'{"prompt": \xff', stream=False)
    (call,) = run(plan(malformed, port=port)).calls
    assert (call.error, call.status) == ("http_400", 400)


def test_a_cancelled_call_ends_after_the_events_it_was_to_get(port: int):
    (call,) = run(plan(replace(calls(1, max_tokens=200)[0], cancel_after=5), port=port)).calls
    assert call.error == Fault.CANCELLED
    assert 5 <= len(call.chunk_t) < 100


def test_a_reply_without_end_is_cut():
    with mock_server.running(Behaviour(tokens_per_chunk=2000)) as (_, port):
        (call,) = run(plan(*calls(1, max_tokens=200_000), port=port, max_reply_mib=1)).calls
    assert call.error == Fault.TOO_LARGE


def test_open_loop_sends_on_schedule_however_slow_the_server():
    with mock_server.running(Behaviour(ttft_s=0.3)) as (_, port):
        report = run(plan(*calls(40, max_tokens=1), port=port, mode=Mode.POISSON, rate=80.0, concurrency=None))
    late = [call.t_sent - call.t_sched for call in report.calls if call.t_sent is not None]
    assert len(late) == 40
    assert min(late) >= 0
    assert min(late[-10:]) < STAMP_ERROR_S  # lateness does not add up
    assert report.calls[-1].t_sched == pytest.approx(40 / 80.0, abs=1e-5)
    assert report.client.peak_in_flight > 10


def test_queue_time_appears_when_the_cap_bites():
    with mock_server.running(Behaviour(ttft_s=0.1)) as (_, port):
        report = run(plan(*calls(6, max_tokens=1), port=port, mode=Mode.BURST, concurrency=2))
    assert report.client.peak_in_flight == 2
    queued = sorted(samples_ms(report)["client_queue_time_ms"])
    assert queued[1] < 50
    assert 100 <= queued[2] <= queued[3] < 200 <= queued[4]


def test_a_trace_is_replayed_at_its_own_times(port: int):
    at = (0.2, 0.0, 0.1)
    traced = (replace(call, at_s=at_s) for call, at_s in zip(calls(3), at, strict=True))
    report = run(plan(*traced, port=port, mode=Mode.TRACE, concurrency=None))
    for call, at_s in zip(report.calls, at, strict=True):
        assert call.t_sent == pytest.approx(at_s, abs=0.05)
        assert call.t_sched == pytest.approx(at_s, abs=1e-6)


def test_sending_stops_in_time_and_what_was_sent_is_finished():
    with mock_server.running(Behaviour(ttft_s=0.05)) as (_, port):
        report = run(plan(*calls(100, max_tokens=1), port=port, send_for_s=0.3))
    sent = [call for call in report.calls if call.t_sent is not None]
    assert 2 <= len(sent) <= 7
    assert all(call.ok for call in sent)
    assert {call.error for call in report.calls if call.t_sent is None} == {Fault.NOT_SENT}


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.BURST])
def test_a_dead_server_never_hangs_the_client(ending: signal.Signals, mode: Mode):
    with mock_server.running(Behaviour(ttft_s=0.05, gap_s=0.05)) as (server, port):
        planned = plan(*calls(6, max_tokens=200), port=port, mode=mode, concurrency=3, deadline_s=1.0)
        client = started(planned)
        server.send_signal(ending)
        report = finished(client)
    assert report.client.wall_s < planned.deadline_s + 1.0
    dead = {Fault.RESET, Fault.EARLY_CLOSE, Fault.REFUSED, Fault.DROPPED}
    cut = {Fault.DEADLINE, Fault.NOT_SENT}
    assert {call.error for call in report.calls} <= (dead if ending == signal.SIGKILL else cut)


def test_a_client_that_was_stopped_says_so():
    with mock_server.running(Behaviour(ttft_s=0.01, gap_s=0.01)) as (_, port):
        planned = plan(*calls(1, max_tokens=80), port=port)
        client = started(planned)
        client.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        client.send_signal(signal.SIGCONT)
        report = finished(client)
    assert report.client.loop_lag.max_ms > 100
    assert Reason.LOOP_LAG in {violation.reason for violation in violations(report, planned)}


async def test_a_long_run_parses_early_rather_than_keep_every_byte(port: int):
    planned = plan(*calls(3), port=port)
    generator = LoadGenerator(planned, raw_budget=0)
    report = await generator.run()
    assert generator._raw_bytes == 0
    kept = await LoadGenerator(planned).run()
    assert [call.token_ids for call in report.calls] == [call.token_ids for call in kept.calls]
    assert [call.error for call in report.calls] == ["", "", ""]


async def test_idle_connections_are_not_raced_with_the_server(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vibeserve_tui.evaluation.load_wire.MAX_IDLE_S", 0.05)
    apart = (replace(call, at_s=at_s) for call, at_s in zip(calls(2), (0.0, 0.3), strict=True))
    report = await LoadGenerator(plan(*apart, port=port, mode=Mode.TRACE, concurrency=None)).run()
    assert [call.error for call in report.calls] == ["", ""]
    assert report.client.connections == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins processes")
def test_the_client_can_be_pinned(port: int):
    core = min(os.sched_getaffinity(0))
    client = started(plan(*calls(1, max_tokens=300), port=port, cores=(core,)))
    assert os.sched_getaffinity(client.pid) == {core}
    assert finished(client).calls[0].ok
    with pytest.raises(MeasurementError, match=r"cannot be pinned to cores \(4000,\)"):
        run(plan(port=port, cores=(4000,)))


async def test_a_cancelled_window_leaves_no_call_behind(port: int):
    before = asyncio.all_tasks()
    running = asyncio.create_task(LoadGenerator(plan(*calls(4, max_tokens=500), port=port, concurrency=2)).run())
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
