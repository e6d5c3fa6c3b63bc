from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.evaluation.toy_target import toy_target
from vibeserve_tui.evaluation import calibration
from vibeserve_tui.evaluation.calibration import (
    ARITHMETICS,
    Arithmetic,
    Row,
    calibrate,
    draw_prompts,
    let_through,
    limits_of,
)
from vibeserve_tui.evaluation.gaps import GapStatistics
from vibeserve_tui.evaluation.reference import spawn_plain
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.inputs.target_sections import GapLimits
from vibeserve_tui.inputs.toml_writer import with_limits

TRUTH, BF16, INT8_WEIGHTS, INT8, SKIPPED = ARITHMETICS
LAYERS = """
import torch

class Layer(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width, bias=False)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))

class Reference(Reference):
    def __init__(self, model_dir, device, dtype):
        super().__init__(model_dir, device, dtype)
        torch.manual_seed(int(self.salt) % 1000)
        self.embedding = torch.nn.Embedding(1024, 32)
        layers = torch.nn.ModuleList(Layer(32) for _ in range(5))
        self.model = torch.nn.ModuleDict({"layers": layers, "head": torch.nn.Linear(32, 1024, bias=False)})
        self.embedding.to(getattr(torch, dtype)); self.model.to(getattr(torch, dtype))

    @torch.no_grad()
    def logits(self, ids):
        x = self.embedding(torch.tensor(list(ids[-4:]))).sum(0)
        for layer in self.model["layers"]:
            x = layer(x)
        return self.model["head"](x)

    def best(self, ids):
        return int(self.logits(ids).argmax())

    def gaps(self, prompt_ids, output_ids):
        ids = [*prompt_ids, *output_ids]
        found = [self.logits(ids[:end]) for end in range(len(prompt_ids), len(ids))]
        return [max(0.0, float(l.max() - l[token])) for l, token in zip(found, output_ids)]
"""


def row(arithmetic: Arithmetic, *gaps: float, weights: str = "own", positions: int = 1000) -> Row:
    return Row(arithmetic, weights, 0, 1, GapStatistics.of([list(gaps), [0.0] * (positions - len(gaps))]))


ROWS = (
    row(TRUTH, 1e-5),
    row(BF16, 0.2, 0.06, 0.06),
    row(BF16, 0.3, weights="other"),
    row(INT8_WEIGHTS, 0.1),
    row(INT8, *[0.25] * 6),
    row(SKIPPED, *[4.0] * 200),
)


def test_limits_lie_a_margin_beyond_the_worst_of_what_a_class_is_for() -> None:
    assert limits_of(ROWS, "exact") == GapLimits(max=0.002)
    numeric, quantised = limits_of(ROWS, "numeric"), limits_of(ROWS, "quantised")
    assert (numeric.max, quantised.max) == (None, None)
    # int8 weights: 1 of 1,000 positions above 0.05, so it is 99 % sure that it is no more than 0.73 %.
    assert numeric.share_05 == pytest.approx(1.5 * 0.0073, rel=0.05)
    assert quantised.share_2 == pytest.approx(1.5 * 0.0161, rel=0.05)
    for row in ROWS[:4]:
        assert not row.statistics.beyond(numeric)
    assert not ROWS[4].statistics.beyond(quantised)
    assert ROWS[5].statistics.beyond(quantised)


def test_the_more_positions_the_closer_the_limit() -> None:
    few, many = (limits_of([row(BF16, *[0.1] * n, positions=1000 * n)], "numeric").share_05 for n in (1, 16))
    assert few is not None
    assert many is not None
    assert 1.5 * 0.001 < many < 0.5 * few


def test_a_class_is_too_wide_when_a_broken_model_keeps_its_limits() -> None:
    assert let_through(ROWS, limits_of(ROWS, "quantised")) == []
    nearly_right = (*ROWS[:-1], row(SKIPPED, 0.1))
    assert let_through(nearly_right, limits_of(nearly_right, "numeric")) == [nearly_right[-1]]


def test_prompts_are_drawn_changed_and_long_as_the_judges_are(tmp_path: Path) -> None:
    target = toy_target(tmp_path)
    workload = Workload.load(target)
    *prompts, longest = draw_prompts(target, workload, 3, 16)
    drawn = [request.prompt_ids for request in workload.draw(3, 16)]
    changes = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in zip(prompts, drawn, strict=False)]
    assert changes == ([0, 1] * 8)[:-1]
    assert len(longest) == target.spec.model.max_context - calibration.TOKENS


@pytest.mark.slow
async def test_every_arithmetic_is_run_on_own_and_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "TOKENS", 16)
    target = toy_target(tmp_path, LAYERS)
    lab = calibration.Laboratory(target, Workload.load(target), tmp_path, spawn_plain)
    shown: list[Row] = []
    rows = await calibrate(lab, positions=320, seed=1, progress=shown.append)
    assert rows == tuple(shown)
    assert [(one.arithmetic, one.weights) for one in rows] == [
        (arithmetic, weights) for arithmetic in ARITHMETICS for weights in ("own", "other")
    ]
    own = {one.arithmetic: one.statistics for one in rows if one.weights == "own"}
    assert own[TRUTH].max == 0.0
    assert own[BF16].mean > 0
    assert 0 < own[INT8_WEIGHTS].mean < own[SKIPPED].mean
    assert rows[0].same == rows[0].answers == 20


def test_limits_are_written_in_place_of_older_ones(tmp_path: Path) -> None:
    root = toy_target(tmp_path).root
    path = root / "target.toml"
    inline = path.read_text().replace('class = "exact"', 'class = "numeric"\nlimits = { max = 9.0 }')
    once = with_limits(inline, GapLimits(max=0.5, share_05=0.01))
    twice = with_limits(once, GapLimits(max=0.25))
    assert tomllib.loads(once)["accuracy"]["limits"] == {"max": 0.5, "share_05": 0.01}
    assert tomllib.loads(twice)["accuracy"]["limits"] == {"max": 0.25}
    assert twice.count("[accuracy.limits]") == 1
    assert "limits = { memory_mib" in twice, "those of the box stay"
    path.write_text(twice)
    assert load_target(root).spec.accuracy.gap_limits.max == 0.25
