from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.evaluation.toy_target import toy_target
from vibeserve_tui.evaluation.exam import Exam, Server
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command
from vibeserve_tui.evaluation.target_check import cheats, check_target, honest, rejected, seed_exam
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state.run_dir import RunDir

MakeExam = Callable[..., Awaitable[Exam]]
WIDE = 'class = "numeric"\nlimits = { mean = 100.0, share_05 = 1.0, share_2 = 1.0 }'


@pytest.fixture
async def make_exam(tmp_path: Path) -> AsyncIterator[MakeExam]:
    services: list[ReferenceService] = []

    async def make_exam(extra: str = "", accuracy: str = 'class = "exact"') -> Exam:
        target = toy_target(tmp_path, extra)
        declaration = target.root / "target.toml"
        declaration.write_text(declaration.read_text().replace('class = "exact"', accuracy))
        target = load_target(target.root)
        command = reference_command(target, swaps=tmp_path)
        services.append(await ReferenceService.start(command, target.model_dir, log=tmp_path / "log"))
        return Exam(
            target, Workload.load(target), services[-1], JudgeSizes(), "", "", target.root, _serve, _swap, 5, target.digest
        )  # fmt: skip

    yield make_exam
    for service in services:
        await service.close()


def _serve(model_dir: Path) -> AbstractAsyncContextManager[Server]:
    raise AssertionError(f"nothing is served here, on {model_dir}")


async def _swap(seed: int) -> Path:
    raise AssertionError(f"nothing is swapped here, with {seed}")


async def drawn(exam: Exam) -> tuple[tuple[PlannedRequest, ...], list[list[int]]]:
    requests = exam.draw("test", 4, tokens=32)
    return requests, await exam.reference.greedy_many([(one.prompt_ids, one.max_tokens) for one in requests])


async def test_right_answers_pass_and_every_cheat_is_rejected(make_exam: MakeExam) -> None:
    exam = await make_exam()
    requests, right = await drawn(exam)
    assert (await honest(exam, requests, right)).fault == ""
    spoiled = cheats(requests, right)
    assert list(spoiled) == ["canned", "echoed", "truncated"]
    for name, answers in spoiled.items():
        assert (await rejected(exam, requests, answers)).fault == "", name


async def test_a_class_so_wide_that_canned_answers_pass_fails_the_check(make_exam: MakeExam) -> None:
    exam = await make_exam(accuracy=WIDE)
    requests, right = await drawn(exam)
    findings = await rejected(exam, requests, cheats(requests, right)["canned"])
    assert "would let a cheat through" in findings.fault


async def test_a_model_that_repeats_itself_fails_the_check(make_exam: MakeExam) -> None:
    exam = await make_exam("\n    def best(self, ids): return 6 + len(ids) % 3\n")
    requests, right = await drawn(exam)
    assert "3 distinct tokens in 32" in (await honest(exam, requests, right)).fault


async def test_a_reference_that_contradicts_itself_fails_the_check(make_exam: MakeExam) -> None:
    exam = await make_exam("\n    def gaps(self, prompt, output): return [0.0] * (len(output) - 1) + [0.5]\n")
    requests, right = await drawn(exam)
    assert "gap max 0.5 is above 0.002" in (await honest(exam, requests, right)).fault


@pytest.mark.slow
def test_the_shipped_target_passes_its_own_check(tmp_path: Path) -> None:
    env: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    launcher = Launcher.start("test-target-check")

    async def check() -> dict[str, bool]:
        target = load_target(shipped_targets()["tiny-llama-chat"])
        try:
            async with seed_exam(launcher, target, RunDir(tmp_path / "check"), backend="cpu", env=env) as exam:
                steps = await check_target(exam, lambda step: print(step.id, step.detail))  # noqa: T201  seen on failure
        finally:
            await launcher.close()
        return {step.id: step.passed for step in steps}

    passed = asyncio.run(check())
    assert passed.keys() >= {"J0", "J1", "J2", "J3", "J4", "J6", "J7", "T1", "T2", "T3", "T4"}
    assert all(passed.values()), passed
