from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from vibeserve_tui.errors import TargetError
from vibeserve_tui.evaluation.load_level import Address, plan_of, timed
from vibeserve_tui.evaluation.load_plan import Mode
from vibeserve_tui.evaluation.workload import CHAT_PATH, Position, Workload, draw_length, perturb
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.inputs.workload_spec import (
    BurstLevel,
    ClosedLevel,
    LognormalLength,
    PoissonLevel,
    SweepLevel,
    TraceLevel,
    UniformLength,
    WorkloadSpec,
)
from vibeserve_tui.resources import Shipped, shipped_folder

MODEL = shipped_folder(Shipped.TARGETS) / "tiny-llama-chat" / "reference" / "model"
QUESTIONS = [f"What is the name of the {animal}?" for animal in ("dog", "cat", "hen", "fox", "owl", "cow")]
ADDRESS = Address("127.0.0.1", 8000, "/v1/completions")


def write_chat(folder: Path, questions: list[str]) -> None:
    records = [{"id": f"c{n}", "messages": [{"role": "user", "content": text}]} for n, text in enumerate(questions)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")


def spec(**changes: object) -> WorkloadSpec:
    table = {
        "kind": "chat",
        "corpus": "corpus.jsonl",
        "prompt_tokens": {"dist": "uniform", "min": 24, "max": 60},
        "output_tokens": {"dist": "choice", "values": [32, 48]},
        **changes,
    }
    return WorkloadSpec.model_validate_json(json.dumps(table))


@pytest.fixture
def chat(tmp_path: Path) -> Workload:
    write_chat(tmp_path, QUESTIONS)
    return Workload.read(spec(), tmp_path, MODEL)


@pytest.fixture
def text(tmp_path: Path) -> Workload:
    words = " ".join(f"item {number} costs {number * 7} coins." for number in range(200))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "t0", "text": words}))
    return Workload.read(spec(kind="text"), tmp_path, MODEL)


def test_the_default_target_has_enough_prompts_for_all_its_levels():
    target = load_target(shipped_folder(Shipped.TARGETS) / "tiny-llama-chat")
    workload = Workload.load(target)
    for level in target.spec.levels:
        drawn = workload.slice(1, 0, 4 * level.requests)
        assert len({request.prompt_ids for request in drawn}) == 4 * level.requests


def test_a_slice_is_a_pure_function_of_seed_and_index(chat: Workload, tmp_path: Path):
    again = Workload.read(spec(), tmp_path, MODEL)
    assert chat.slice(3, 1, 20) == again.slice(3, 1, 20)
    assert chat.slice(3, 1, 20)[:5] == chat.slice(3, 1, 5)
    prompts = [{request.prompt_ids for request in chat.slice(*key, 20)} for key in ((3, 1), (3, 2), (4, 1))]
    assert not prompts[0] & prompts[1]
    assert not prompts[0] & prompts[2]


def test_a_prompt_is_the_template_around_text_that_ends_in_a_question(chat: Workload):
    for request in chat.draw(1, 20):
        rendered = chat.corpus.text(request.prompt_ids)
        assert rendered == f"<|bos|><|user|>{request.text}<|assistant|>"
        assert request.text.endswith("?")


@pytest.mark.parametrize("workload", ["chat", "text"])
def test_lengths_are_exactly_those_drawn(workload: str, request: pytest.FixtureRequest):
    drawn = request.getfixturevalue(workload).draw(5, 60)
    lengths = [len(planned.prompt_ids) for planned in drawn]
    assert min(lengths) >= 24
    assert max(lengths) <= 60
    assert len(set(lengths)) > 15
    assert {planned.max_tokens for planned in drawn} == {32, 48}


def test_any_length_can_be_asked_for(chat: Workload):
    for length in (4, 5, 6, 7, 30, 700):
        assert len(chat.prompt(Random(0), length)) == length


def test_prompts_of_a_window_are_distinct(chat: Workload):
    drawn = chat.draw(9, 300)
    assert len({request.prompt_ids for request in drawn}) == 300


def test_a_corpus_that_is_too_small_says_so(tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text('{"text": "a b c"}')
    small = spec(kind="text", prompt_tokens={"dist": "fixed", "value": 4})
    with pytest.raises(TargetError, match=r"no more than about \d+ distinct prompts"):
        Workload.read(small, tmp_path, MODEL).draw(1, 40)
    repeating = small.model_copy(update={"distinct": False})
    assert len(Workload.read(repeating, tmp_path, MODEL).draw(1, 40)) == 40


def test_a_shared_prefix_is_shared_by_all_slices_of_a_seed(tmp_path: Path):
    write_chat(tmp_path, [f"Where is {place}?" for place in range(300)])
    declared = spec(kind="shared_prefix", options={"prefix_tokens": 100}, prompt_tokens={"dist": "fixed", "value": 20})
    workload = Workload.read(declared, tmp_path, MODEL)
    requests = (*workload.slice(1, 0, 8), *workload.slice(1, 1, 8))
    head = len(workload.corpus.opening) + 100
    assert {len(request.prompt_ids) for request in requests} == {120}
    assert len({request.prompt_ids[:head] for request in requests}) == 1
    assert len({request.prompt_ids[head:] for request in requests}) == 16
    assert workload.slice(2, 0, 1)[0].prompt_ids[:head] != requests[0].prompt_ids[:head]


def test_every_request_streams_with_ids_and_usage(chat: Workload):
    request = chat.draw(1, 1)[0]
    body = request.body("/v1/completions")
    assert body["prompt"] == list(request.prompt_ids)
    assert body["stream"] is body["return_token_ids"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert "seed" not in body
    assert "ignore_eos" not in body
    messages = request.body(CHAT_PATH)["messages"]
    assert messages == [{"role": "user", "content": request.text}]
    assert request.call("r0", "/v1/completions").prompt_tokens == len(request.prompt_ids)
    assert request.call("r0", CHAT_PATH).prompt_tokens is None


def test_sampling_requests_carry_seeds_of_their_own(tmp_path: Path):
    write_chat(tmp_path, QUESTIONS)
    sampled = Workload.read(spec(temperature=0.8, ignore_eos=True), tmp_path, MODEL).draw(1, 10)
    assert len({request.body("/v1/completions")["seed"] for request in sampled}) == 10
    assert sampled[0].body("/v1/completions")["ignore_eos"] is True


def test_the_digest_changes_with_whatever_changes_the_prompts(chat: Workload, tmp_path: Path):
    assert Workload.read(spec(public_draw=8), tmp_path, MODEL).sha256 == chat.sha256
    assert Workload.read(spec(temperature=0.5), tmp_path, MODEL).sha256 != chat.sha256
    write_chat(tmp_path, [*QUESTIONS, "Who are you?"])
    assert Workload.read(spec(), tmp_path, MODEL).sha256 != chat.sha256


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ('{"messages": []}', "the last of `messages` is not the user's"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "the last of `messages` is not the user's"),
        ('{"messages": [{"role": "user", "content": 3}]}', "'content' must be a string"),
        ('{"prompt": "x"}', "'text' is missing"),
        ('{"text": "x"}', "some lines have `messages`"),
    ],
)
def test_a_broken_corpus_is_refused_with_its_line(line: str, said: str, tmp_path: Path):
    write_chat(tmp_path, QUESTIONS)
    with (tmp_path / "corpus.jsonl").open("a") as corpus:
        corpus.write(line)
    with pytest.raises(TargetError) as refusal:
        Workload.read(spec(), tmp_path, MODEL)
    assert said in str(refusal.value)
    assert "corpus.jsonl" in refusal.value.where


def test_a_corpus_of_another_kind_is_refused(tmp_path: Path):
    write_chat(tmp_path, QUESTIONS)
    with pytest.raises(TargetError, match="the corpus is one for kind chat, the workload says text"):
        Workload.read(spec(kind="text"), tmp_path, MODEL)


def test_a_kind_without_a_generator_is_refused(tmp_path: Path):
    with pytest.raises(TargetError, match="no generator draws workloads of kind image"):
        Workload.read(
            WorkloadSpec.model_validate_json('{"kind": "program"}').model_copy(update={"kind": "image"}),
            tmp_path,
            MODEL,
        )


def test_a_prompt_too_short_for_the_template_is_refused(chat: Workload):
    with pytest.raises(TargetError, match="cannot hold the chat template's 3"):
        chat.prompt(Random(0), 3)


@pytest.mark.parametrize("broken", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_tokenizer_is_refused_by_name(broken: str, tmp_path: Path):
    write_chat(tmp_path, QUESTIONS)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL / name, tmp_path)
    (tmp_path / broken).chmod(0o644)
    (tmp_path / broken).write_text('{"version": "1.0"}')
    with pytest.raises(TargetError) as refusal:
        Workload.read(spec(), tmp_path, tmp_path)
    assert broken in refusal.value.where


def test_lognormal_lengths_stay_in_their_range_or_say_why_not():
    draw = Random(1)
    lengths = LognormalLength(dist="lognormal", median=100, sigma=1.0, min=50, max=200)
    drawn = [draw_length(lengths, draw) for _ in range(500)]
    assert 50 <= min(drawn) < 60
    assert 180 < max(drawn) <= 200
    with pytest.raises(TargetError, match="hardly ever"):
        draw_length(lengths.model_copy(update={"median": 1e9}), draw)


def test_uniform_lengths_reach_both_ends():
    draw = Random(1)
    assert {draw_length(UniformLength(dist="uniform", min=3, max=5), draw) for _ in range(60)} == {3, 4, 5}


@pytest.mark.parametrize(
    ("position", "where"),
    [(Position.FIRST, {0}), (Position.EARLY, {1, 2, 3}), (Position.LATE, {4, 5, 6, 7}), (Position.LAST, {8})],
)
def test_a_perturbed_prompt_differs_in_one_token_which_within_it_may_be_any(position: Position, where: set[int]):
    ids, changed = tuple(range(100, 109)), set()
    for draw in map(Random, range(60)):
        new = perturb(ids, position, range(100, 120), draw)
        (index,) = (number for number, pair in enumerate(zip(ids, new, strict=True)) if len(set(pair)) > 1)
        changed.add(index)
    assert changed == where


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("position", Position)
def test_the_shortest_prompts_can_be_perturbed_anywhere(position: Position, length: int):
    new = perturb(range(length), position, range(100, 120), Random(1))
    assert len(new) == length
    assert sum(token >= 100 for token in new) == 1


def test_levels_become_plans(chat: Workload):
    requests = chat.draw(1, 4)
    closed = plan_of(ClosedLevel(id="c2", requests=4, mode="closed", concurrency=2), requests, ADDRESS, deadline_s=9)
    assert (closed.mode, closed.concurrency, closed.deadline_s, len(closed.calls)) == (Mode.CLOSED, 2, 9, 4)
    poisson = PoissonLevel(id="p", requests=4, mode="poisson", rate=2.0, burstiness=0.5, max_concurrency=3)
    planned = plan_of(poisson, requests, ADDRESS, deadline_s=9, seed=5)
    assert (planned.mode, planned.rate, planned.burstiness, planned.concurrency, planned.seed) == (
        Mode.POISSON, 2.0, 0.5, 3, 5,
    )  # fmt: skip
    burst = plan_of(BurstLevel(id="b", requests=4, mode="burst"), requests, ADDRESS, deadline_s=9)
    assert (burst.mode, burst.concurrency) == (Mode.BURST, None)
    with pytest.raises(TargetError, match="no mode sweep"):
        plan_of(SweepLevel(id="s", requests=4, mode="sweep", start=1, stop=2), requests, ADDRESS, deadline_s=9)


def test_a_trace_gives_requests_their_times(chat: Workload, tmp_path: Path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 2}\n{"at_s": 0.5}\n{"at_s": 3}\n')
    requests = timed(chat.draw(1, 2), trace)
    level = TraceLevel(id="t", requests=2, mode="trace", file="trace.jsonl", factor=0.5)
    planned = plan_of(level, requests, ADDRESS, deadline_s=9)
    assert ([call.at_s for call in planned.calls], planned.time_scale) == ([0.5, 2.0], 0.5)
    assert [replace(request, at_s=0.0) for request in requests] == list(chat.draw(1, 2))
    with pytest.raises(TargetError, match="3 times are too few for 4 requests"):
        timed(chat.draw(1, 4), trace)
    trace.write_text('{"at": 2}\n')
    with pytest.raises(TargetError, match="'at_s' is missing"):
        timed(chat.draw(1, 1), trace)
