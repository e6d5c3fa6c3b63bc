from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.evaluation.toy_server import LONG, ToyServer
from tests.evaluation.toy_target import toy_target
from vibeserve_tui.evaluation import conduct
from vibeserve_tui.evaluation.battery import judge
from vibeserve_tui.evaluation.exam import Exam, Findings, step_of
from vibeserve_tui.evaluation.load_report import CallReport, Usage
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command
from vibeserve_tui.evaluation.side import ServerDied
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.events import JudgeStep, Verdict
from vibeserve_tui.execution.box import BoxResult, Listener, ProcessInfo
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import load_target

Change = Callable[[ToyServer], None]
pytestmark = pytest.mark.asyncio(loop_scope="module")
ALL_STEPS = ["J0", "J1", "J2", "J3", "J4", "J6", "J5", "J7", "J6", "J8"]
CHECKER = '[programs]\nchecker = { command = ["{python}", "accuracy_checker/checker.py", "--url", "{url}"] }\n'


@dataclass
class Bench:
    """An exam on the toy target. `changes` are made to each server in turn, the last one to all further ones."""

    exam: Exam
    changes: list[Change] = field(default_factory=list)
    servers: list[ToyServer] = field(default_factory=list)
    shown: list[JudgeStep] = field(default_factory=list)

    async def judge(self, seed: int = 5) -> Verdict:
        return await judge(replace(self.exam, seed=seed, serve=self._serve), self.shown.append)

    @asynccontextmanager
    async def _serve(self, model_dir: Path) -> AsyncIterator[ToyServer]:
        server = ToyServer(self.exam.workload.corpus, model_dir)
        self.servers.append(server)
        if self.changes:
            self.changes[min(len(self.servers), len(self.changes)) - 1](server)
        yield server


MakeBench = Callable[..., Bench]


@asynccontextmanager
async def open_exam(folder: Path, declared: str = "") -> AsyncIterator[Exam]:
    target = toy_target(folder)
    if declared:
        with (target.root / "target.toml").open("a") as file:
            file.write(declared)
        target = load_target(target.root)
    other = Path(shutil.copytree(target.model_dir, folder / "other"))
    with (other / "model.safetensors").open("ab") as file:
        file.write(b"other")

    async def swap(seed: int) -> Path:
        return other

    command = reference_command(target, swaps=folder)
    reference = await ReferenceService.start(command, target.model_dir, log=folder / "log")
    tree = target.file(target.spec.seed)
    try:
        yield Exam(
            target, Workload.load(target), reference, JudgeSizes(), "", "", tree, Bench._serve, swap, 5, target.digest
        )  # fmt: skip
    finally:
        await reference.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_exam(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Exam]:
    async with open_exam(tmp_path_factory.mktemp("shared")) as exam:
        yield exam


@pytest.fixture
def make_bench(shared_exam: Exam, monkeypatch: pytest.MonkeyPatch) -> MakeBench:
    monkeypatch.setattr(conduct, "IDLE_S", 0.01)
    return lambda *changes: Bench(shared_exam, list(changes))


async def test_an_honest_server_passes_every_step_on_three_starts(make_bench: MakeBench) -> None:
    bench = make_bench()
    verdict = await bench.judge()
    assert (verdict.outcome, verdict.reason) == ("pass", "10 steps passed")
    assert [step.id for step in verdict.steps] == ALL_STEPS
    assert tuple(bench.shown) == verdict.steps
    assert [server.model_dir.name for server in bench.servers] == ["model", "other", "model"]


async def test_the_same_commit_and_seed_give_the_same_verdict_to_the_byte(make_bench: MakeBench) -> None:
    bench = make_bench()
    verdicts = [await bench.judge(seed) for seed in (5, 5, 6)]
    untimed = [replace_times(verdict).model_dump_json() for verdict in verdicts]
    assert untimed[0] == untimed[1]
    assert untimed[0] != untimed[2]


def replace_times(verdict: Verdict) -> Verdict:
    steps = tuple(step.model_copy(update={"took_ms": 0.0}) for step in verdict.steps)
    return verdict.model_copy(update={"steps": steps})


async def test_another_seed_asks_other_questions(make_bench: MakeBench) -> None:
    bench = make_bench()
    for seed in (5, 5, 6):
        await bench.judge(seed)
    first, again, other = ({str(call.body) for s in bench.servers[i : i + 3] for call in s.asked} for i in (0, 3, 6))
    assert first == again
    assert len(first & other) < len(first) / 4  # malformed requests are always the same


async def test_the_first_fault_ends_the_judgement(make_bench: MakeBench) -> None:
    bench = make_bench(lambda server: setattr(server, "commit", "another"))
    verdict = await bench.judge()
    assert verdict.first_failure == "J1"
    assert verdict.reason == "J1 starts from a fresh checkout: /health says commit 'another'"
    assert [step.id for step in verdict.steps] == ["J0", "J1"]
    assert len(bench.servers) == 1


def nothing(server: ToyServer) -> None:
    """It stays as it is."""


def dies(server: ToyServer) -> None:
    raise ServerDied("the server ended: out of memory")


@pytest.mark.parametrize(("start", "step"), [(1, "J1"), (2, "J7"), (3, "J6")])
async def test_a_start_that_fails_fails_the_step_it_was_for(make_bench: MakeBench, start: int, step: str) -> None:
    bench = make_bench(*[nothing] * (start - 1), dies)
    verdict = await bench.judge()
    assert (verdict.outcome, verdict.first_failure) == ("fail", step)
    assert "out of memory" in verdict.reason


def both(*changes: Change) -> Change:
    def change(server: ToyServer) -> None:
        for one in changes:
            one(server)

    return change


@pytest.mark.parametrize("slow", [0, 1, 2])
async def test_who_is_slow_makes_no_difference_to_the_record(make_bench: MakeBench, slow: int) -> None:
    def lies(server: ToyServer) -> None:
        server.spoil = inflate

    def dawdles(server: ToyServer) -> None:
        server.s_to_send = 0.02

    changes = [nothing, lies, stores_answers]
    changes[slow] = both(changes[slow], dawdles)
    bench = make_bench(*changes)
    verdict = await bench.judge()
    assert [step.id for step in verdict.steps] == ALL_STEPS[:8]
    assert "J7 other weights, another truth: q0: usage says" in verdict.reason


async def test_a_reference_that_fails_judges_nobody(tmp_path: Path) -> None:
    async with open_exam(tmp_path) as exam:
        await exam.reference.close()
        verdict = await Bench(exam).judge()
    assert verdict.outcome == "void"
    assert "the reference cannot be asked" in verdict.reason


async def test_a_changed_target_is_noticed(tmp_path: Path) -> None:
    async with open_exam(tmp_path) as exam:
        (exam.target.root / "benchmark" / "corpus.jsonl").write_text("{}\n")
        verdict = await Bench(exam).judge()
    assert verdict.reason == "J0 integrity of tree and target: the target's files changed since the run began"


async def test_warnings_of_the_scan_stand_in_the_verdict_and_decide_nothing(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench = make_bench()
    tree = Path(shutil.copytree(bench.exam.folder, tmp_path / "tree"))
    (tree / "server" / "probe.py").write_text('import os\n\nWHERE = os.environ["HOSTNAME"]\n')
    bench.exam = replace(bench.exam, folder=tree)
    verdict = await bench.judge()
    assert verdict.passed
    assert "to look at: server/probe.py:3 reads the environment variable HOSTNAME" in verdict.steps[0].detail


# ---- one answer that is not in order --------------------------------------------------------------------------------


def drop_usage(report: CallReport) -> None:
    report.usage = None


def inflate(report: CallReport) -> None:
    if report.usage:
        report.usage = Usage(report.usage.prompt_tokens, report.usage.completion_tokens + 1)


def cut(report: CallReport) -> None:
    if len(report.chunk_ids) > 20:
        del report.chunk_ids[-4:], report.chunk_text[-4:], report.chunk_t[-4:]


def wrong_token(report: CallReport) -> None:
    if report.id == "q3":
        report.chunk_ids[-1] = [7 if report.chunk_ids[-1] != [7] else 8]
        report.chunk_text = [""] * len(report.chunk_ids)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (drop_usage, "J2 HTTP contract: /v1/completions: streamed and plain usage differ"),
        (inflate, "J2 HTTP contract: /v1/completions: streamed and plain usage differ"),
        (cut, "J2 HTTP contract: /v1/completions: streamed and plain answers differ"),
        (wrong_token, "J3 held-out prompts: q3: its text is not that of its tokens"),
    ],
)
async def test_an_answer_out_of_order_fails(
    make_bench: MakeBench, spoil: Callable[[CallReport], None], reason: str
) -> None:
    bench = make_bench(lambda server: setattr(server, "spoil", spoil))
    assert (await bench.judge()).reason == reason


# ---- conduct --------------------------------------------------------------------------------------------------------


def stores_answers(server: ToyServer) -> None:
    seen: set[tuple[int, ...]] = set()

    def is_stored(prompt: tuple[int, ...]) -> bool:
        known = prompt in seen
        seen.add(prompt)
        return known

    server.is_stored = is_stored


def stores_long_answers(server: ToyServer) -> None:
    stores_answers(server)
    is_stored = server.is_stored
    server.is_stored = lambda prompt: len(prompt) > LONG and is_stored(prompt)


def knows_everything(server: ToyServer) -> None:
    server.is_stored = lambda prompt: len(prompt) > LONG


async def test_a_repeated_request_that_costs_too_little_fails(make_bench: MakeBench) -> None:
    verdict = await (make_bench(stores_answers)).judge()
    assert verdict.first_failure == "J8"
    assert "a repeated request costs less than half" in verdict.reason


async def test_a_repeated_answer_that_comes_too_soon_fails_whatever_is_burned_beside_it(make_bench: MakeBench) -> None:
    verdict = await (make_bench(both(stores_answers, lambda server: setattr(server, "burns", True)))).judge()
    assert verdict.first_failure == "J8"
    assert "a repeated request takes less than half the time of a new one" in verdict.reason


def guesses(server: ToyServer) -> None:
    """Verified, from long prompts whose state it keeps: few steps for many tokens, but they are made each time."""
    server.s_per_answer, server.guessed, server.keeps_prompts = 0.01, 0.3, True


async def test_what_prompts_tell_of_their_answers_may_be_guessed_each_time(make_bench: MakeBench) -> None:
    assert (await (make_bench(guesses)).judge()).passed


async def test_answers_to_the_workloads_own_prompts_may_not_be_kept(make_bench: MakeBench) -> None:
    verdict = await (make_bench(both(guesses, stores_long_answers))).judge()
    assert verdict.first_failure == "J8"
    assert "a repeated request of the workload costs less than half" in verdict.reason


async def test_answers_carried_over_a_restart_fail(make_bench: MakeBench) -> None:
    verdict = await (make_bench(nothing, nothing, knows_everything)).judge()
    assert verdict.first_failure == "J8"
    assert "requests that an earlier process answered cost less than half" in verdict.reason


async def test_no_time_enters_the_words_of_a_verdict(make_bench: MakeBench) -> None:
    def slower(server: ToyServer) -> None:
        stores_answers(server)
        server.s_per_token *= 1.7

    verdicts = [await make_bench(change).judge() for change in (stores_answers, slower)]
    assert replace_times(verdicts[0]) == replace_times(verdicts[1])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("idle_share", 0.5, "it is busy before it is asked anything"),
        ("tree", (ProcessInfo(10, 1, "python", 0.0), ProcessInfo(12, 1, "sleep 60", 0.0)), "sleep 60"),
        ("tree", (ProcessInfo(10, 1, "python", 0.0, 9), ProcessInfo(12, 10, "sleep 61", 0.0, 12)), "sleep 61"),
        ("sockets", (Listener(10, "tcp", 8000), Listener(10, "tcp", 8001)), "it listens on tcp port 8001 too"),
        ("sockets", (Listener(10, "tcp", 8000), Listener(10, "udp", 53)), "it listens on udp port 53 too"),
        ("sockets", (), "none of its processes listens on port 8000"),
    ],
)
async def test_what_a_server_does_beside_answering_is_seen(
    make_bench: MakeBench, name: str, value: object, says: str
) -> None:
    verdict = await (make_bench(nothing, nothing, lambda server: setattr(server, name, value))).judge()
    assert verdict.first_failure == "J8"
    assert says in verdict.reason


async def test_a_child_of_the_server_may_run(make_bench: MakeBench) -> None:
    tree = (ProcessInfo(10, 1, "python", 0.0), ProcessInfo(12, 10, "worker", 0.0), ProcessInfo(14, 12, "thread", 0.0))
    assert (await (make_bench(lambda server: setattr(server, "tree", tree))).judge()).passed


# ---- the target's own checker ---------------------------------------------------------------------------------------


def ends(code: int, killed: None = None) -> Change:
    return lambda server: setattr(server, "ended", BoxResult(code, b"", b"0.93 is not enough\n", 1.0, 1.0, 9.0, killed))


@pytest.mark.parametrize(
    ("code", "outcome", "says"),
    [
        (0, "pass", "11 steps passed"),
        (1, "fail", "it says no: 0.93 is not enough"),
        (3, "void", "checker failed: 0.93"),
    ],
)
async def test_the_targets_own_checker_decides_too(tmp_path: Path, code: int, outcome: str, says: str) -> None:
    async with open_exam(tmp_path, CHECKER) as exam:
        verdict = await Bench(exam, [ends(code)]).judge()
    assert (verdict.outcome, says in verdict.reason) == (outcome, True)


async def test_what_a_candidate_wrote_cannot_break_the_record_of_its_step() -> None:
    step = step_of("J0", "integrity", Findings(fault="replaces time.\ud800\n\x1b[2J"), 1.0)
    assert JudgeStep.model_validate_json(step.model_dump_json()) == step
    assert step.detail.isprintable()
