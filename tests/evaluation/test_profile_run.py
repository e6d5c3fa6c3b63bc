from __future__ import annotations

import pytest

from vibeserve_tui.evaluation.profile_run import calibrated
from vibeserve_tui.profile_report import ProfileReport, Quality

REPORT = ProfileReport(tool="py-spy", window_s=3.0, samples=300, phases={"model": 1.0}, operations={"forward": 1.0})


@pytest.mark.parametrize(("throughput", "quality"), [(95.0, Quality.USABLE), (88.0, Quality.PERTURBED)])
def test_a_profiler_that_slows_the_server_down_only_orders_suspects(throughput: float, quality: Quality) -> None:
    report = calibrated(REPORT, throughput, control=100.0)
    assert report.quality is quality
    assert report.observer_effect == pytest.approx(1 - throughput / 100)


@pytest.mark.parametrize(("throughput", "control"), [(None, 100.0), (95.0, None)])
def test_without_both_figures_nothing_is_said_of_the_effect(throughput: float | None, control: float | None) -> None:
    assert calibrated(REPORT, throughput, control) == REPORT
