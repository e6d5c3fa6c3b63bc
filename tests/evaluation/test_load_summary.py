from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.load_windows import answered, calls, plan, report
from vibeserve_tui.evaluation.load_plan import Mode
from vibeserve_tui.evaluation.load_report import CallReport, Fault, Usage
from vibeserve_tui.evaluation.load_summary import (
    Slos,
    WindowContext,
    achieved_rate,
    figures,
    is_saturated,
    percentile,
    samples_ms,
    since_scheduled,
    summarise,
)

VLLM_KEYS = {
    "date", "num_prompts", "request_rate", "burstiness", "max_concurrency", "duration", "completed", "failed",
    "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput", "output_throughput",
    "total_token_throughput", "max_output_tokens_per_s", "max_concurrent_requests", "input_lens", "output_lens",
    "ttfts", "itls", "start_times", "errors",
    *(
        f"{statistic}_{quantity}_ms"
        for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
        for quantity in ("ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue")
    ),
}  # fmt: skip
"""As vLLM 0.30's `vllm bench serve --save-result --save-detailed` writes them, without what names its own set-up
(backend, label, ids of model and tokenizer) and without generated texts."""
OUR_TOP_LEVEL_KEYS = {"latencies", "queue_times", "seed", "vibeserve"}


def test_keys_are_those_of_vllms_serving_benchmark():
    table = summarise(report(answered("r0", 0.0, 0.1, 0.2)))
    assert table.keys() == VLLM_KEYS | OUR_TOP_LEVEL_KEYS


def test_a_summary_is_json():
    table = summarise(report(answered("r0", 0.0, 0.1, 0.2)))
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_definitions_by_hand():
    window = report(
        answered("r0", 0.0, 0.10, 0.16, 0.22),
        answered("r1", 0.5, 0.70, 0.80, tokens=2),
        CallReport("r2", t_sched=0.6, t_sent=0.6, t_end=3.0, error="http_500"),
    )
    table = summarise(window)
    assert (table["completed"], table["failed"], table["num_prompts"]) == (2, 1, 3)
    assert (table["total_input_tokens"], table["total_output_tokens"]) == (6, 7)
    assert table["duration"] == pytest.approx(0.8)
    assert table["output_throughput"] == pytest.approx(7 / 0.8)
    assert table["total_token_throughput"] == pytest.approx(13 / 0.8)
    assert table["mean_ttft_ms"] == pytest.approx(150)
    assert table["std_ttft_ms"] == pytest.approx(50)
    assert table["mean_e2el_ms"] == pytest.approx((220 + 300) / 2)
    # (220 − 100) / 2 tokens after the first, and (300 − 200) / 3.
    assert table["mean_tpot_ms"] == pytest.approx((60 + 100 / 3) / 2)
    # Gaps are pooled over the requests: 60, 60 and the 100 of the two-token chunk.
    assert table["mean_itl_ms"] == pytest.approx(220 / 3)
    assert table["ttfts"] == pytest.approx([0.1, 0.2, None])
    assert table["output_lens"] == [3, 4, None]
    assert table["errors"] == ["", "", "http_500"]
    own = table["vibeserve"]
    assert isinstance(own, dict)
    assert own["error_labels"] == {"http_500": 1}
    assert isinstance(own["itl_per_token"], dict)
    assert own["itl_per_token"]["mean_ms"] == pytest.approx((60 + 60 + 50 + 50) / 4)


def test_waiting_for_a_slot_counts_only_where_it_is_named():
    window = report(answered("r0", 0.3, 0.4, 0.5, sched=0.1))
    table = summarise(window)
    assert table["mean_client_queue_time_ms"] == pytest.approx(200)
    assert table["mean_e2el_ms"] == pytest.approx(200)
    assert table["mean_e2el_including_client_queue_ms"] == pytest.approx(400)
    assert samples_ms(window)["ttft_including_client_queue_ms"] == pytest.approx([300])


def test_who_is_kept_waiting_in_an_open_loop_waits_from_when_he_was_due():
    window = report(answered("r0", 0.3, 0.4, 0.5, sched=0.1), answered("r1", 0.3, 0.5, 0.6, sched=0.3))
    table = since_scheduled(figures(summarise(window)))
    assert (table["mean_ttft_ms"], table["mean_e2el_ms"]) == (pytest.approx(250), pytest.approx(350))
    assert table["mean_tpot_ms"] == pytest.approx(100)
    assert since_scheduled(samples_ms(window))["ttft_ms"] == pytest.approx([300, 200])


def test_a_single_token_has_no_tpot_and_keeps_every_tpot_slo():
    table = summarise(report(answered("r0", 0.0, 0.1)), Slos(tpot_ms=1.0))
    assert table["mean_tpot_ms"] is None
    assert table["request_goodput"] == pytest.approx(10)


def test_goodput_counts_calls_that_keep_all_slos():
    window = report(answered("r0", 0.0, 0.1, 0.2), answered("r1", 0.0, 0.3, 1.0), answered("r2", 0.0, 0.1, 0.9))
    assert summarise(window)["request_goodput"] is None
    assert summarise(window, Slos(ttft_ms=200))["request_goodput"] == 2
    assert summarise(window, Slos(ttft_ms=200, e2el_ms=500))["request_goodput"] == 1


@pytest.mark.parametrize(("mode", "goodput"), [(Mode.POISSON, 0), (Mode.BURST, 0), (Mode.CLOSED, 5)])
@pytest.mark.parametrize("slos", [Slos(ttft_ms=200), Slos(e2el_ms=300)], ids=str)
def test_who_is_kept_waiting_in_an_open_loop_is_not_served_well(slos: Slos, mode: Mode, goodput: float):
    window = report(answered("r0", 0.3, 0.4, 0.5, sched=0.1), of=plan(mode=mode, rate=1.0))
    assert summarise(window, slos)["request_goodput"] == pytest.approx(goodput)


def test_what_cannot_be_had_is_none_and_never_zero():
    failed = report(CallReport("r0", t_sched=0.0, t_sent=0.0, t_end=1.0, error=Fault.TIMEOUT))
    table = summarise(failed)
    assert table["duration"] is table["output_throughput"] is table["mean_ttft_ms"] is None
    own = table["vibeserve"]
    assert isinstance(own, dict)
    assert own["lost_responses"] == 1
    assert own["cpu_ms_per_token"] is own["peak_rss_mib"] is own["activation"] is None


def test_without_ids_the_servers_usage_counts_the_tokens():
    call = answered("r0", 0.0, 0.1, 0.2)
    call.chunk_ids = [[], []]
    call.usage = Usage(prompt_tokens=3, completion_tokens=5)
    assert summarise(report(call))["total_output_tokens"] == 5
    call.usage = None
    assert summarise(report(call))["total_output_tokens"] is None


def test_tail_percentiles_need_enough_requests():
    def tails(count: int) -> list[bool]:
        table = summarise(report(*(answered(f"r{i}", 0.0, 0.1 + i / 1000) for i in range(count))))
        return [table[f"p{p}_ttft_ms"] is not None for p in (50, 90, 95, 99)]

    assert tails(19) == [True, False, False, False]
    assert tails(20) == [True, True, False, False]
    assert tails(200) == [True, True, True, False]
    assert tails(1000) == [True, True, True, True]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], p: float):
    assert percentile(values, p) == pytest.approx(float(np.percentile(values, p)), abs=1e-6)


def test_the_fullest_second_counts_tokens_not_chunks():
    window = report(answered("r0", 0.0, 0.5, 0.9, 1.1, tokens=3))
    assert summarise(window)["max_output_tokens_per_s"] == 6


def test_context_of_the_window_is_carried():
    table = summarise(
        report(answered("r0", 0.0, 0.1, 0.2)),
        context=WindowContext(commit="abc", server_cpu_s=0.5, peak_rss_mib=12.0, activation={"steps": 3}),
    )
    own = table["vibeserve"]
    assert isinstance(own, dict)
    assert (own["commit"], own["cpu_ms_per_token"], own["activation"]) == ("abc", 250.0, {"steps": 3})
    assert figures(table)["peak_rss_mib"] == 12.0
    assert figures(table)["mean_ttft_ms"] == pytest.approx(100)
    assert "ttfts" not in figures(table)
    assert "saturated" not in figures(table)


def test_a_constant_latency_is_no_saturation_but_a_growing_one_is():
    open_loop = plan(*calls(20), mode=Mode.POISSON, rate=10.0)
    steady = report(*(answered(f"r{i}", i / 10, i / 10 + 5) for i in range(20)), of=open_loop)
    assert achieved_rate(steady) == pytest.approx(10)
    assert not is_saturated(steady)
    falling_behind = report(*(answered(f"r{i}", i / 10, i / 5 + 1) for i in range(20)), of=open_loop)
    assert is_saturated(falling_behind)
    assert not is_saturated(report(*falling_behind.calls))


def test_one_slow_last_request_is_no_saturation():
    open_loop = plan(*calls(20), mode=Mode.POISSON, rate=10.0)
    ends = [i / 10 + 0.2 for i in range(19)] + [4.0]
    window = report(*(answered(f"r{i}", i / 10, end) for i, end in enumerate(ends)), of=open_loop)
    achieved = achieved_rate(window)
    assert achieved is not None
    assert achieved < 0.95 * 10
    assert not is_saturated(window)
