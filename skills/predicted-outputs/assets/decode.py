"""How running sequences get their next tokens: several per step where the client's draft holds, else one each."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from server import counters
from server.config import Config
from server.draft import Draft
from server.sampling import pick
from server.sequence import Sequence

if TYPE_CHECKING:
    from server.model import Model

TRIALS = 3
"""Verifications of a draft before its speed is compared with plain decoding."""


@dataclass
class Trial:
    """A draft and what following it has cost and brought."""

    draft: Draft
    verifications: int = 0
    seconds: float = 0.0
    tokens: int = 0


class Decode:
    def __init__(self, model: "Model", config: Config) -> None:
        self._model = model
        self._max_window = config.integer("draft_window")
        # A finished sequence takes its draft along.
        self._trials: WeakKeyDictionary[Sequence, Trial] = WeakKeyDictionary()
        self._plain_s = 0.0
        """Seconds per token of plain decoding, a moving average; 0 until it was measured."""

    def step(self, sequences: list[Sequence]) -> None:
        """At least one new token for every sequence; they come in order of their slots."""
        plain = [sequence for sequence in sequences if not self._verify(sequence)]
        if plain:
            self._decode(plain)

    def _decode(self, sequences: list[Sequence]) -> None:
        began = time.perf_counter()
        logits = self._model.decode(
            [sequence.slot for sequence in sequences],
            [sequence.ids[-1] for sequence in sequences],
            [sequence.filled for sequence in sequences],
        )
        tokens = pick(logits, sequences)
        spent = (time.perf_counter() - began) / len(sequences)
        self._plain_s = 0.9 * self._plain_s + 0.1 * spent if self._plain_s else spent
        for sequence, token in zip(sequences, tokens, strict=True):
            sequence.filled += 1
            sequence.deliver(token)

    def _verify(self, sequence: Sequence) -> bool:
        """Compute the next positions of a draft in one pass and keep what plain decoding would have said."""
        # Sampled answers draw once per token: a draft would change what the same seed gives.
        if not sequence.draft_ids or sequence.rng is not None or not self._plain_s:
            return False
        trial = self._trials.get(sequence)
        if trial is None:
            trial = self._trials[sequence] = Trial(Draft(sequence.draft_ids, sequence.ids, self._max_window))
        proposed = trial.draft.propose(sequence.ids, sequence.room - 1)
        if not proposed:
            return False
        began = time.perf_counter()
        tokens = self._model.extend(sequence.slot, [sequence.ids[-1], *proposed], sequence.filled).argmax()
        accepted = _agreeing(tokens, proposed)
        trial.draft.judge(len(proposed), accepted, tokens[accepted])
        self._weigh(trial, time.perf_counter() - began, accepted + 1)
        counters.add("draft_verifications")
        counters.add("draft_accepted", accepted)
        for token in tokens[: accepted + 1]:
            sequence.filled += 1
            sequence.deliver(token)
            if sequence.done:
                break
        return True

    def _weigh(self, trial: Trial, seconds: float, tokens: int) -> None:
        """A draft that is slower than no draft is dropped, whatever the reason."""
        trial.verifications += 1
        trial.seconds += seconds
        trial.tokens += tokens
        if trial.verifications >= TRIALS and trial.seconds > trial.tokens * self._plain_s:
            trial.draft.give_up()


def _agreeing(tokens: list[int], proposed: list[int]) -> int:
    return next((i for i, (token, guess) in enumerate(zip(tokens, proposed)) if token != guess), len(proposed))


