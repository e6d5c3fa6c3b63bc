from __future__ import annotations

import math
import statistics
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.evaluation.load_windows import answered, calls, plan, report
from vibeserve_tui.errors import InputError
from vibeserve_tui.evaluation.arrivals import arrival_times, gamma_arrivals
from vibeserve_tui.evaluation.load_plan import Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import LoadReport


def test_plan_survives_the_pipe():
    sent = plan(
        Call("raw", "/v1/completions", raw=b"\xff{", stream=False),
        Call("full", "/x", {"a": 1}, at_s=1.5, timeout_s=2.0, cancel_after=3, keep_events=True, prompt_tokens=4),
        mode=Mode.POISSON,
        rate=2.5,
        seed=7,
        cores=(1,),
        headers={"Authorization": "Bearer x"},
    )
    assert LoadPlan.from_bytes(sent.to_bytes()) == sent


def test_report_survives_the_pipe():
    sent = report(answered("r0", 0.0, 0.125, 0.25))
    assert LoadReport.from_bytes(sent.to_bytes()) == sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "an object is needed, not a list"),
        (b'{"host": 3}', "'host' must be a string, not 3"),
        (b'{"host": "h", "port": 1, "mode": "sweep", "calls": []}', "mode 'sweep' is none of closed, poisson"),
        (
            b'{"host": "h", "port": 1, "mode": "burst", "calls": [{"id": "a"}]}',
            "load plan: calls[0]: 'path' is missing",
        ),
        (
            b'{"host": "h", "port": 1, "mode": "burst", "calls": [{"id": "a", "path": "/", "bdy": 1}]}',
            "unknown key 'bdy'; did you mean 'body'?",
        ),
        (b'{"host": "h", "port": 1, "mode": "burst", "calls": [], "cores": [], "deadline_s": 1}', "there are no calls"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_place(text: bytes, said: str):
    with pytest.raises(InputError) as refusal:
        LoadPlan.from_bytes(text)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": None},
        {"mode": Mode.POISSON},
        {"deadline_s": 0.0},
        {"rate": -1.0},
        {"headers": {"X": "a\r\nHost: b"}},
    ],
    ids=str,
)
def test_a_plan_that_means_nothing_cannot_be_made(wrong: dict[str, object]):
    with pytest.raises(InputError):
        plan(**wrong)


def test_two_calls_may_not_share_an_id():
    with pytest.raises(InputError, match="same id"):
        plan(*calls(1), *calls(1))


def test_a_wrong_plan_ends_the_program_with_one_line():
    program = [sys.executable, "-m", "vibeserve_tui.evaluation.load"]
    ended = subprocess.run(program, input=b"{}", capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"load plan: 'host' is missing\n"


def test_the_program_needs_nothing_but_the_standard_library():
    loaded = "import sys, vibeserve_tui.evaluation.load; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"vibeserve_tui"}
    # An editable install brings a finder of its own, before any import of ours.
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()


def test_the_digest_is_of_the_calls_whatever_the_port():
    assert plan(port=1).sha256() == plan(port=2).sha256()
    assert plan(*calls(2)).sha256() != plan(*reversed(calls(2))).sha256()


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_arrivals_end_exactly_at_n_over_rate(burstiness: float):
    arrivals = gamma_arrivals(500, 40.0, burstiness, seed=3)
    assert arrivals[-1] == pytest.approx(500 / 40.0, rel=1e-12)
    assert all(before < after for before, after in pairwise([0.0, *arrivals]))


def test_poisson_gaps_are_exponential():
    arrivals = gamma_arrivals(4000, 50.0, 1.0, seed=11)
    gaps = sorted(after - before for before, after in pairwise([0.0, *arrivals]))
    distance = max(abs((rank + 1) / len(gaps) - (1 - math.exp(-50.0 * gap))) for rank, gap in enumerate(gaps))
    assert distance < 1.36 / math.sqrt(len(gaps))  # Kolmogorov–Smirnov, 5 %


def test_burstiness_is_the_shape_of_the_gaps():
    def variation(burstiness: float) -> float:
        gaps = [after - before for before, after in pairwise(gamma_arrivals(4000, 1.0, burstiness, seed=5))]
        return statistics.stdev(gaps) / statistics.fmean(gaps)

    assert variation(0.25) == pytest.approx(2.0, rel=0.1)
    assert variation(4.0) == pytest.approx(0.5, rel=0.1)


def test_gaps_too_small_for_a_number_still_end_at_n_over_rate():
    for seed in range(20):
        assert gamma_arrivals(1, 4.0, 1e-4, seed) == [pytest.approx(0.25)]


def test_equal_seeds_give_equal_arrivals_and_other_seeds_others():
    assert gamma_arrivals(9, 1.0, 1.0, seed=1) == gamma_arrivals(9, 1.0, 1.0, seed=1)
    assert gamma_arrivals(9, 1.0, 1.0, seed=1) != gamma_arrivals(9, 1.0, 1.0, seed=2)


def test_a_trace_is_stretched_by_its_scale():
    traced = plan(Call("a", "/", at_s=0.5), Call("b", "/", at_s=2.0), mode=Mode.TRACE, time_scale=2.0)
    assert arrival_times(traced) == [1.0, 4.0]
