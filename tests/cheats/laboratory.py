"""Where servers of the zoo are judged: real boxes, the shipped model, its real reference, private seeds."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vibeserve_tui.evaluation.batches import Restart
from vibeserve_tui.evaluation.battery import SERVED_STEPS, integrity, swapped_weights
from vibeserve_tui.evaluation.conduct import conduct, is_idle
from vibeserve_tui.evaluation.exam import Exam, Findings, Serve, Server
from vibeserve_tui.evaluation.live_side import LiveSide, WrongAnswers
from vibeserve_tui.evaluation.reference import ReferenceService, reference_command, spawn_boxed
from vibeserve_tui.evaluation.testbed import Testbed
from vibeserve_tui.evaluation.weight_swap import swap_weights
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.inputs.profiles import JudgeSizes
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.inputs.target_sections import GapLimits
from vibeserve_tui.recipes.chain import apply_chain, closure
from vibeserve_tui.recipes.lint import SPECIMEN
from vibeserve_tui.recipes.recipe import RecipeBook, load_recipe
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.workspace import Store

ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SWAP_PROMPTS = 4
CALIBRATED = {
    # `vibeserve target calibrate tiny-llama-chat`, two draws of 5,136 and 2,976 positions for each arithmetic, and two
    # more of bf16: 17 of 11,280 gaps above 0.05 and 7 above 0.2, mean 0.0009; int8 weights 15 of 8,112 above 0.05.
    # Upper 99 % bounds, times the margin of 1.5. bf16 computed as on processors without it (AVX2, AVX-512) gave the
    # same share above 0.05, 0.16 to 0.20 %.
    "numeric": GapLimits(share_05=0.005, share_2=0.0022, mean=0.0033),
    # Dynamic int8 in full batches of sixteen, two more draws of 2,560 positions: 147 above 0.2, mean 0.046; rounded one
    # by one it was 1.4 %.
    "quantised": GapLimits(share_2=0.053, p99=2.9, mean=0.089),
}
FAST_RECIPES = ("continuous-batching", "http-path")


def tree_of(recipes: Sequence[str], seed: Path, destination: Path) -> Path:
    """The seed with shipped recipes and whatever they need."""
    files = sorted(shipped_folder(Shipped.SKILLS).glob("*/recipe.toml"))
    book = RecipeBook(load_recipe(path) for path in files)
    apply_chain(book, {name: {} for name in closure(book, recipes)}, seed, destination, SPECIMEN)
    return destination


def fast_tree(seed: Path, destination: Path) -> Path:
    """Honest, batching, and up in a third of a second: the scheduler and HTTP path of the recipes over numpy."""
    tree = tree_of(FAST_RECIPES, seed, destination)
    shutil.copy(Path(__file__).with_name("numpy_model.py"), tree / "server" / "model.py")
    (tree / "server" / "layers.py").unlink()
    return tree


@dataclass(slots=True)
class Laboratory:
    """One launcher, one reference, one set of other weights; any number of trees."""

    testbed: Testbed
    workload: Workload
    reference: ReferenceService
    honest: Path
    """The fast tree that all cheats are made of."""
    _swapped: list[Path] = field(default_factory=list)

    @property
    def target(self) -> LoadedTarget:
        return self.testbed.target

    def exam(self, tree: Path, seed: int, accuracy: str = "exact") -> Exam:
        """A judgement of a folder, committed now."""
        when = int(time.time())
        commit = self.testbed.store.snapshot(tree, ref=f"attempts/{tree.name}", parent=None, message="x", when=when)
        look = self.look(tree, seed, accuracy)
        return replace(look, commit=commit.sha, tree=commit.tree, serve=self._serve(commit.sha))

    def look(self, tree: Path, seed: int, accuracy: str = "exact") -> Exam:
        """A judgement of a folder that no store would take, for steps that start nothing."""
        spec = self.target.spec
        limits = CALIBRATED.get(accuracy, GapLimits())
        declared = spec.accuracy.model_copy(update={"tolerance_class": accuracy, "limits": limits})
        return Exam(
            target=replace(self.target, spec=spec.model_copy(update={"accuracy": declared})),
            workload=self.workload,
            reference=self.reference,
            sizes=JudgeSizes(),
            commit="",
            tree="",
            folder=tree,
            serve=self._serve(""),
            swap=self._swap,
            seed=seed,
            trusted_digest=self.target.digest,
        )

    def _serve(self, commit: str) -> Serve:
        return lambda model_dir: self.testbed.serve(commit, model_dir)

    async def _swap(self, seed: int) -> Path:
        if not self._swapped:
            prompts = [request.prompt_ids for request in self.workload.draw(seed, SWAP_PROMPTS)]
            out = self.testbed.directory.path / "swaps" / "other"
            swap = await swap_weights(self.reference, out, seed=seed, prompts=prompts, exact_in="bfloat16")
            self._swapped.append(swap.model_dir)
        return self._swapped[0]

    # ---- single steps, each on a process as fresh as the battery would give it ----------------------------------

    async def examine(self, exam: Exam, step: str) -> Findings:
        """What one step of the battery says, without those before it."""
        (findings,) = await self.examine_all([exam], step)
        return findings

    async def examine_all(self, exams: Sequence[Exam], step: str) -> list[Findings]:
        """The same for several seeds of one commit, on one process where the step allows it."""
        served = {name: work for name, _, work in SERVED_STEPS}
        exam = exams[0]
        if step == "J0":
            return [await integrity(one) for one in exams]
        if step == "J9":
            return [await self.timed(one) for one in exams]
        async with exam.serve(exam.target.model_dir) as server:
            if step in served:
                return [await served[step](one, server) for one in exams]
            if step == "J8":
                idle = await is_idle(server)
                return [await self._conduct(one, server, idle) for one in exams]
        # The first start of a commit is always on the target's own weights; this is a later one.
        other = await exam.swap(exam.seed)
        async with exam.serve(other) as server:
            return [await swapped_weights(one, server, other) for one in exams]

    async def _conduct(self, exam: Exam, server: Server, idle: bool) -> Findings:
        restart = Restart()
        findings = await restart.answers(exam, server)
        if findings.fault:
            return findings
        return await conduct(exam, server, idle_at_first=idle, known=restart)

    async def timed(self, exam: Exam) -> Findings:
        """J9: one window of the headline's level, with its answers verified."""
        findings = Findings()
        level = exam.target.spec.headlines[0].level
        bed = replace(self.testbed, target=exam.target)  # its class is the exam's
        side = LiveSide("zoo", exam.commit, bed, self.workload, {}, self.reference)
        async with side.serve() as run:
            try:
                await run.suspend()  # as while its sibling is timed
                await run.resume()
                window = await run.window(level, exam.seed, 0)
            except WrongAnswers as wrong:
                findings.check(False, str(wrong))
            else:
                findings.check(not window.failed, f"{window.failed} failed: {', '.join(window.violations)}")
        return findings


@asynccontextmanager
async def laboratory(launcher: Launcher, folder: Path) -> AsyncIterator[Laboratory]:
    directory = RunDir(folder / "run")
    directory.create()
    copied = load_target(shipped_targets()["tiny-llama-chat"]).copied(directory.path / "tiny-llama-chat")
    swaps, logs = directory.path / "swaps", directory.path / "logs"
    swaps.mkdir()
    logs.mkdir()
    testbed = Testbed(launcher, Store(directory.store), directory, copied, "cpu", ENV)
    reference = await ReferenceService.start(
        reference_command(copied, swaps=swaps),
        copied.model_dir,
        log=logs / "reference.log",
        spawn=spawn_boxed(launcher),
    )
    honest = fast_tree(copied.file(copied.spec.seed), folder / "honest")
    try:
        yield Laboratory(testbed, Workload.load(copied), reference, honest)
    finally:
        await reference.close()
