"""The evidence record: the stored decision follows from it, and a person can read why."""

import tarfile
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import vibeserve_tui
from tests.evaluation.fake_sides import FakeSide, Machine
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.evidence import Evidence, comparison_of, explain, noise_of, recompute
from vibeserve_tui.evaluation.gate_config import GateConfig
from vibeserve_tui.evaluation.measure import MeasurePlan, measure
from vibeserve_tui.metrics import Comparison, MetricSpec, Outcome

DEMO = Path(vibeserve_tui.__file__).parent / "demo_run.tar.gz"
THROUGHPUT = MetricSpec(name="output_throughput", level="c16", unit="tok/s", direction="max", role="headline")
TTFT = MetricSpec(name="p90_ttft_ms", level="c16", unit="ms", direction="min", role="guard", tolerance=0.05)
MEMORY = MetricSpec(name="peak_rss_mib", unit="MiB", direction="min", role="guard", max=2048)
PLAN = MeasurePlan(
    metrics=(THROUGHPUT, TTFT, MEMORY),
    config=GateConfig.quick(),
    workload_sha256="3f2a" * 16,
    device_fingerprint="cpu-1",
    cpu_proxy=True,
)


async def evidence_of(candidate: FakeSide, plan: MeasurePlan = PLAN) -> Evidence:
    champion = FakeSide(candidate.machine, "round 2", commit="a" * 40)
    return (await measure(champion, candidate, plan, lambda _event: None)).evidence


def candidate(speed: float, **fields: object) -> FakeSide:
    side = FakeSide(Machine(), "round 3", commit="b" * 40, speed=speed, random=Random(8))
    return replace(side, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "side",
    [
        candidate(130),
        candidate(300),
        candidate(101),
        candidate(60),
        candidate(130, ttft_ms=400),
        candidate(130, bad_windows={1: "loop lag 9 ms", 2: "loop lag 9 ms"}),
        candidate(130, crash_in=frozenset({1, 2})),
    ],
    ids=["bound", "leap", "no gain", "screen", "guard", "void windows", "crash"],
)
async def test_the_stored_decision_follows_from_the_stored_windows_byte_for_byte(side: FakeSide) -> None:
    written = (await evidence_of(side)).model_dump_json()
    read = Evidence.model_validate_json(written)
    assert read.model_dump_json() == written
    assert recompute(read).model_dump_json() == read.decision.model_dump_json()
    assert (
        comparison_of(read).model_dump_json() == comparison_of(Evidence.model_validate_json(written)).model_dump_json()
    )


def test_what_a_released_version_has_recorded_is_decided_as_it_was_then() -> None:
    recorded = 0
    with tarfile.open(DEMO) as run:
        for member in run.getmembers():
            content = run.extractfile(member)
            if content is None or "/blobs/" not in f"/{member.name}" or b'"blocks"' not in (blob := content.read()):
                continue
            evidence = Evidence.model_validate_json(blob)
            assert recompute(evidence) == evidence.decision, member.name
            recorded += 1
    assert recorded >= 10


async def test_the_journal_s_summary_survives_json() -> None:
    comparison = comparison_of(await evidence_of(candidate(130)))
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    assert comparison.outcome is Outcome.ACCEPTED
    assert comparison.ratio == pytest.approx(1.3, rel=0.05)


async def test_only_pooled_samples_are_kept() -> None:
    kept = (await evidence_of(candidate(130))).blocks[0].windows[0].window.samples
    assert set(kept) == {"ttft_ms"}


async def test_a_record_that_was_tampered_with_is_noticed() -> None:
    honest = await evidence_of(candidate(101))
    assert not explain(honest)[0].startswith("DIFFERS")
    claimed = honest.decision.model_copy(update={"outcome": Outcome.ACCEPTED, "reason": "bound"})
    assert explain(honest.model_copy(update={"decision": claimed}))[0].startswith("DIFFERS")


async def test_the_explanation_tells_blocks_looks_guards_and_verdict() -> None:
    told = "\n".join(explain(await evidence_of(candidate(130, bad_windows={1: "loop lag 9 ms"}))))
    assert "A round 2 aaaaaaaaaa against B round 3 bbbbbbbbbb: output_throughput@c16, tok/s, higher is better" in told
    assert "noise not measured; smallest gain that counts ×1.020" in told
    assert "block 1 AB" in told
    assert "window B of pair 1, c16: void, loop lag 9 ms" in told
    assert "look at 3 blocks: ×1." in told
    assert "guard p90_ttft_ms@c16: kept, ×" in told
    assert "guard peak_rss_mib: kept, ×1.000" in told
    assert told.splitlines()[-1].startswith("accepted (bound) after ")


async def test_the_explanation_tells_how_far_the_floor_is() -> None:
    plan = replace(PLAN, bounds={THROUGHPUT.key: 390.0})
    told = explain(await evidence_of(candidate(130), plan))
    assert any(
        line.startswith("floor output_throughput@c16: this device cannot pass 390 tok/s; B is at 1") for line in told
    )
    assert any("×3.0" in line or "×2.9" in line for line in told if line.startswith("floor"))
    beyond = await evidence_of(candidate(500), plan)
    assert (beyond.decision.outcome, beyond.decision.reason) == (Outcome.VOID, "roofline")


async def test_every_figure_says_where_it_comes_from() -> None:
    plan = replace(PLAN, target_digest="feed" * 16, versions={"python": "3.11.9", "torch": "2.8.0"})
    evidence = await evidence_of(candidate(130), plan)
    assert (evidence.champion.tree, evidence.candidate.commit) == ("7ee", "b" * 40)
    told = "\n".join(explain(evidence))
    assert "trees 7ee, 7ee, target feedfeedfeed, python 3.11.9, torch 2.8.0" in told
    older = evidence.model_copy(update={"versions": {}, "target_digest": ""})
    assert "target not recorded, not recorded" in "\n".join(explain(older))


@pytest.mark.parametrize("other", [{"device_fingerprint": "cpu-2"}, {"workload_sha256": "beef" * 16}])
async def test_noise_of_two_devices_or_workloads_is_never_pooled(other: dict[str, str]) -> None:
    here = await evidence_of(candidate(130))
    assert noise_of([here, here]).wall is not None
    with pytest.raises(MeasurementError, match="two devices or two workloads"):
        noise_of([here, here.model_copy(update=other)])


async def test_the_explanation_names_crashes() -> None:
    told = explain(await evidence_of(candidate(130, crash_in=frozenset({1, 2}))))
    assert any("B crashed: round 3 died with signal 9" in line for line in told)
    assert told[-1].startswith("rejected (crash) after 0 blocks: not reported")


async def test_evidence_of_an_open_evaluation_has_no_summary() -> None:
    closed = await evidence_of(candidate(130))
    open_ended = closed.decision.model_copy(update={"outcome": None})
    with pytest.raises(MeasurementError, match="has not ended"):
        comparison_of(closed.model_copy(update={"decision": open_ended}))
