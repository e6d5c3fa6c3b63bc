from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.evaluation.toy_target import toy_target
from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation import reference as reference_module
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command, spawn_boxed, spawn_plain
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.resources import shipped_targets

Start = Callable[..., Awaitable[ReferenceService]]
PROMPT = [1, 50, 60, 70]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    services: list[ReferenceService] = []

    async def start(extra: str = "") -> ReferenceService:
        services.append(await start_service(toy_target(tmp_path, extra), tmp_path))
        return services[-1]

    yield start
    for service in services:
        await service.close()


async def start_service(target: LoadedTarget, folder: Path) -> ReferenceService:
    command = reference_command(target, swaps=folder)
    return await ReferenceService.start(command, target.model_dir, log=folder / "reference.log")


async def test_greedy_text_has_no_gaps_and_a_changed_token_has_one(start: Start) -> None:
    reference = await start()
    output = await reference.greedy(PROMPT, 12)
    assert await reference.gaps(PROMPT, output) == [0.0] * 12
    output[5] += 1
    gaps = await reference.gaps(PROMPT, output)
    assert gaps[5] > 0
    assert gaps[:5] == [0.0] * 5


async def test_many_questions_are_answered_in_order(start: Start) -> None:
    reference = await start()
    prompts = [[1, number] for number in range(20)]
    together = await reference.greedy_many([(prompt, 4) for prompt in prompts])
    assert await asyncio.gather(*(reference.greedy(prompt, 4) for prompt in prompts)) == together
    assert await reference.greedy_many([]) == []
    assert await reference.gaps(PROMPT, []) == []


async def test_what_ends_a_text_and_what_may_come_first_are_told(start: Start) -> None:
    reference = await start()
    assert reference.end_ids == (2,)
    assert sum(map(math.exp, await reference.next_logprobs(PROMPT))) == pytest.approx(1)


async def test_other_weights_answer_for_a_while_and_the_own_ones_whoever_asks_for_them(
    start: Start, tmp_path: Path
) -> None:
    reference = await start()
    meanwhile: list[asyncio.Task[list[int]]] = []
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"other")
    own = await reference.greedy(PROMPT, 8)

    async def fail_under_other_weights() -> None:
        async with reference.using(other) as perturbed:
            meanwhile.append(asyncio.create_task(reference.greedy(PROMPT, 8)))
            assert perturbed.model_dir == other
            assert await perturbed.greedy(PROMPT, 8) != own
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_under_other_weights()
    assert await reference.greedy(PROMPT, 8) == await meanwhile[0] == own


async def test_a_question_that_the_reference_cannot_answer_is_an_error_and_the_next_one_is_answered(
    start: Start,
) -> None:
    reference = await start()
    with pytest.raises(MeasurementError, match=r"generate raised TypeError"):
        await reference.greedy(["text"], 3)  # type: ignore[list-item]
    assert len(await reference.greedy(PROMPT, 3)) == 3


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("def generate(self, prompt_ids, n): return [5] * (n + 1)", r"generate returned \[4\] values where \[3\]"),
        (
            "def generate(self, prompt_ids, n): return ['a'] * n",
            "generate returned 0.0: Input should be a valid integer",
        ),
        ("def generate(self, prompt_ids, n): return [-1] * n", "greater than or equal to 0"),
        ("def generate(self, prompt_ids, n): return None", "valid list"),
        ("def generate(self, prompt_ids, n): return [float('nan')] * n", "ValueError: Out of range float"),
        ("def generate(self, prompt_ids, n): return object()", "is not JSON serializable"),
    ],
)
async def test_an_answer_that_cannot_be_right_is_an_error(start: Start, method: str, what: str) -> None:
    reference = await start(f"\n    {method}\n")
    with pytest.raises(MeasurementError, match=what):
        await reference.greedy(PROMPT, 3)


async def test_a_negative_gap_is_an_error(start: Start) -> None:
    reference = await start("\n    def gaps(self, prompt_ids, output_ids): return [-0.1] * len(output_ids)\n")
    with pytest.raises(MeasurementError, match="gaps returned"):
        await reference.gaps(PROMPT, [5])


async def test_a_dying_reference_is_an_error_with_the_end_of_its_log(start: Start) -> None:
    reference = await start("\n    def generate(self, *a): print('out of luck'); sys.stdout.flush(); os._exit(3)\n")
    with pytest.raises(MeasurementError, match=r"failed in generate: it ended \(log ends: out of luck\)") as caught:
        await reference.greedy(PROMPT, 3)
    assert caught.value.where.endswith("reference.log")
    with pytest.raises(MeasurementError):
        await reference.greedy(PROMPT, 3)


async def test_a_reference_that_cannot_be_imported_or_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    target = toy_target(tmp_path, "\nimport nothing_of_this_name\n")
    with pytest.raises(MeasurementError, match="No module named 'nothing_of_this_name'"):
        await start_service(target, tmp_path)
    (target.root / "reference" / "reference.py").write_text("class Reference:\n    def __init__(self, *a): 1 / 0\n")
    with pytest.raises(MeasurementError, match="load raised ZeroDivisionError"):
        await start_service(target, tmp_path)


async def test_what_a_reference_says_in_an_error_is_one_printable_line(start: Start) -> None:
    raising = r"def generate(self, *a): print('\x1b[31mlog'); raise ValueError('two\nlines \x1b]0;owned\x07')"
    reference = await start(f"\n    {raising}\n")
    with pytest.raises(MeasurementError) as caught:
        await reference.greedy(PROMPT, 3)
    assert str(caught.value).isprintable()
    assert "two lines" in str(caught.value)


async def test_replies_that_are_none_are_an_error_of_one_line(start: Start) -> None:
    reference = await start(
        "\n    def generate(self, *a):\n"
        "        for fd in range(3, 20):\n"
        "            try: os.write(fd, b'{\"id\": \\n')\n"
        "            except OSError: pass\n"
    )
    with pytest.raises(MeasurementError, match="the process failed in generate: 1 validation error") as caught:
        await reference.greedy(PROMPT, 3)
    assert "\n" not in str(caught.value)


async def test_a_hanging_reference_is_killed_at_its_deadline(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = await start("\n    def generate(self, *a): time.sleep(60)\n")
    monkeypatch.setattr(reference_module, "ANSWER_S", 0.2)
    with pytest.raises(MeasurementError, match=r"generate took longer than 0\.2 s"):
        await reference.greedy(PROMPT, 3)


async def test_the_answer_to_a_cancelled_question_is_not_taken_for_the_next_one(start: Start) -> None:
    reference = await start("\n    def next_logprobs(self, ids): time.sleep(0.3); return [-1.0]\n")
    asking = asyncio.create_task(reference.next_logprobs(PROMPT))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(await reference.greedy(PROMPT, 3)) == 3


async def test_what_the_reference_prints_goes_to_the_log_and_its_environment_has_no_keys(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary")
    reference = await start("\nprint('environment', dict(os.environ))\n")
    await reference.greedy(PROMPT, 3)
    log = (tmp_path / "reference.log").read_text()
    assert "OMP_NUM_THREADS" in log
    assert "loading" in log
    assert "canary" not in log


async def test_the_process_ends_when_its_engine_is_gone(tmp_path: Path) -> None:
    target = toy_target(tmp_path)
    worker = await spawn_plain(reference_command(target, swaps=tmp_path), tmp_path / "log")
    worker.requests.close()
    assert await asyncio.wait_for(worker.replies.read(), 10) == b""
    await worker.stop()


def test_in_a_box_it_sees_the_target_and_nothing_else_of_the_users(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    target = toy_target(tmp_path / "targets", f"\nprint('secret seen:', os.path.exists({str(secret)!r}))\n")
    log = tmp_path / "reference.log"
    launcher = Launcher.start("test-reference")

    async def ask() -> list[int]:
        command = reference_command(target, swaps=target.root)
        try:
            service = await ReferenceService.start(command, target.model_dir, log=log, spawn=spawn_boxed(launcher))
            answer = await service.greedy(PROMPT, 4)
            await service.close()
            with pytest.raises(MeasurementError):
                await service.greedy(PROMPT, 4)
            return answer
        finally:
            await launcher.close()

    assert len(asyncio.run(ask())) == 4
    assert "secret seen: False" in log.read_text()


@pytest.mark.slow
async def test_the_tiny_llamas_reference_is_transformers_own_greedy_decoding(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    target = load_target(shipped_targets()["tiny-llama-chat"])
    reference = await start_service(target, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(str(target.model_dir), dtype=torch.float32).eval()
    for prompt in ([1, 3, 50, 51, 4], [1, *range(100, 160), 4]):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None
        )[0, len(prompt) :].tolist()
        assert await reference.greedy(prompt, 24) == expected
        assert await reference.gaps(prompt, expected) == [0.0] * 24
        logprobs = await reference.next_logprobs(prompt)
        assert max(range(1024), key=logprobs.__getitem__) == expected[0]
        worst = min(range(1024), key=logprobs.__getitem__)
        (gap,) = await reference.gaps(prompt, [worst])
        assert gap == pytest.approx(max(logprobs) - min(logprobs), abs=1e-4)
    await reference.close()
