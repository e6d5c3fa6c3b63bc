"""What a server told, beside what the reference would have: the gaps of whole answers, their ends included.

The judge and the timed run compare alike, by this module. An answer that is given twice is compared once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui.evaluation.answers import AnswerRules
from vibeserve_tui.evaluation.gaps import GapStatistics
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.reference import ReferenceService
from vibeserve_tui.evaluation.workload import PlannedRequest, Workload
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.inputs.target_sections import GapLimits

CERTAIN = 1e-6
"""Limits are those of all positions, and a first token may be less sure than others: only what is gross counts there."""


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """A prompt, the ids that came, and whether the answer ended by itself."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    ended: bool

    @classmethod
    def of(cls, request: PlannedRequest, report: CallReport) -> Told:
        ids = tuple(report.token_ids)
        return cls(request.prompt_ids, ids, len(ids) < request.max_tokens)

    def variants(self, end_ids: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """With each of the model's end-of-text tokens where it ended: an early end is a wrong token too."""
        if not self.ended or not end_ids:
            return [(self.prompt, self.ids)]
        return [(self.prompt, (*self.ids, end)) for end in end_ids]


@dataclass(slots=True)
class Compared:
    """The answers of one judgement or of one timed run."""

    _gaps: dict[tuple[Path, Told], list[float]] = field(default_factory=dict)

    async def gaps(self, reference: ReferenceService, answers: Iterable[Told]) -> GapStatistics:
        """Of these answers, under the weights that the reference has loaded."""
        weights, told = reference.model_dir, sorted(set(answers))
        new = [answer for answer in told if (weights, answer) not in self._gaps]
        for answer, gaps in zip(new, await _gaps_of(reference, new), strict=True):
            self._gaps[weights, answer] = gaps
        return GapStatistics.of(self._gaps[weights, answer] for answer in told)

    def add(self, other: Compared) -> None:
        """Those of another part of the same judgement."""
        self._gaps |= other._gaps

    @property
    def all(self) -> GapStatistics:
        return GapStatistics.of(self._gaps.values())

    def beyond(self, limits: GapLimits) -> str:
        """What all answers together break, or their first tokens alone: one wrong token an answer is no share of all."""
        if together := self.all.beyond(limits):
            return f"together with the answers of earlier steps: {together}"
        firsts = GapStatistics.of(gaps[:1] for gaps in self._gaps.values())
        alone = firsts.beyond(limits.model_copy(update={"mean": None}), CERTAIN)
        return f"first tokens alone: {alone}" if alone else ""


async def _gaps_of(reference: ReferenceService, answers: Sequence[Told]) -> list[list[float]]:
    """One that ended is as good as its best end: any of the model's end-of-text tokens will do."""
    variants = [answer.variants(reference.end_ids) for answer in answers]
    found = iter(await reference.gaps_many([one for group in variants for one in group]))
    return [min((next(found) for _ in group), key=lambda gaps: gaps[-1:]) for group in variants]


def answer_rules(target: LoadedTarget, workload: Workload, reference: ReferenceService) -> AnswerRules:
    """What the target declares about the answers of the endpoint that carries the load."""
    return AnswerRules(
        max_tokens_per_chunk=target.spec.endpoints[0].max_tokens_per_chunk,
        end_ids=frozenset(reference.end_ids),
        decode=workload.corpus.tokenizer.decode,
        vocabulary=workload.corpus.vocabulary,
    )
