"""The performance gate: is the candidate better than the champion, or is it noise?

`decide()` is pure: blocks in, decision out. It never measures, never reads a clock, and never compares with a
stored number. All values are log ratios d, > 0 = candidate better.

A block is one fresh start of both servers. Windows inside one start are not independent (on a busy 2-core machine
the medians of identical programs differed by −17…+14 % from start to start), so the block is the unit of all
statistics. Looks at fixed numbers of blocks test their mean with Student bounds; the error probabilities of all
looks sum to 1.0 % (quick) or 0.6 % (thorough).

Three shortcuts save starts, which are most of the cost. At a look after which acceptance by the last one has become
unlikely (5 % or less, foreseen from the blocks so far) and no later look is foreseen to reject, measuring ends
undecided: identical servers then take 3.9 blocks instead of 4.1 on steady machines and 4.7 instead of 6.3 on overloaded
ones, and no true gain of 3, 5, 10 or 30 % is found less often by more than 0.2 % (recordings as below). The screen
rejects after one block what is clearly worse. A leap accepts after two blocks if each shows at least 2×, or after three
if each shows 1.5×. It assumes no distribution: an unchanged candidate passes with P(one block beyond the
threshold)^blocks. In recordings of two identical programs on 2 cores under load 5–9, cut into windows of 0.13 CPU-
seconds, a quarter of what the gate uses, that is 0.003² + 0.019³ = 0.002 %. A leap must also exceed 4 × the A/A noise,
for machines wilder than that. Its weak spot is noise that grows after a quiet A/A: simulated (normal, Student and
Laplace noise), leaps add less than 0.1 % to the false accepts at 12 % noise per block, the worst recorded, and up to 3
% at 50 %; the sentinels void blocks on such a machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vibeserve_tui.evaluation.block_stats import estimate, mean, standard_error, t_quantile, t_upper_tail
from vibeserve_tui.evaluation.blocks import Arm, Block, is_value
from vibeserve_tui.evaluation.gate_config import ONE_SIDED, GateConfig, LookRule, Spread, Terms
from vibeserve_tui.evaluation.gate_guards import beyond_bound, guard_result, looks_broken
from vibeserve_tui.metrics import GuardResult, GuardState, Look, Outcome, TimeBasis, Value

NOISE_MULTIPLE = 4.0
"""A screen or a leap must exceed this many standard deviations of identical servers."""
NOISY_WALL = 0.05
"""From this sd of A/A blocks on, wall time is poor enough for CPU time to speak."""
TOO_GOOD = 5.0
UNEXPLAINED = 2.0
"""Speed-ups that are checked twice: with a declared mechanism, and without."""
MAX_VOID_SHARE = 0.25
MAX_VOID_BLOCKS = 1


class Closed(StrEnum):
    """Why measuring ended before the gate had decided."""

    WALL_CAP = "wall_cap"
    ENVIRONMENT = "environment"
    NOISE_RUN = "noise_run"
    """There was nothing to decide."""


class Decision(Value):
    """What the gate says; `outcome` None = measure on."""

    outcome: Outcome | None
    reason: str
    used: int
    """Usable blocks behind it."""
    mean_d: float | None
    low_d: float | None
    high_d: float | None
    """95 %, two-sided."""
    delta: float
    floor: float
    basis: TimeBasis
    too_good: bool
    """Check it twice: judge it again on a new seed and confirm it."""
    looks: tuple[Look, ...]
    guards: tuple[GuardResult, ...]

    @property
    def provisional(self) -> bool:
        return self.outcome is Outcome.ACCEPTED and self.basis is TimeBasis.CPU_PROXY


def decide(
    blocks: Sequence[Block], config: GateConfig, terms: Terms | None = None, *, closed: Closed | None = None
) -> Decision:
    """The decision at the earliest block that allows one; later blocks change nothing."""
    case = _Case(config, terms or Terms())
    for seen in range(1, len(blocks) + 1):
        decision = case.after(blocks[:seen])
        if decision is not None:
            return decision
    return case.undecided(blocks, closed)


@dataclass(frozen=True, slots=True)
class _Case:
    """One comparison under its rules."""

    config: GateConfig
    terms: Terms

    def after(self, seen: Sequence[Block]) -> Decision | None:
        """The decision that the last of these blocks brings, if any."""
        usable = [block for block in seen if block.usable]
        fault = _fault(seen)
        if fault is not None:
            return self._end(*fault, usable)
        if not seen[-1].usable:
            return None
        decision = self._on_wall(usable) if self.terms.wall_trusted else self._on_cpu(usable)
        return None if decision is None else self._unless_patchy(decision, seen)

    def undecided(self, seen: Sequence[Block], closed: Closed | None) -> Decision:
        """No block has brought a decision; `closed` says that none will follow."""
        usable = [block for block in seen if block.usable]
        if closed is None:
            return self._end(None, "need_more", usable)
        if closed is Closed.ENVIRONMENT:
            return self._end(Outcome.VOID, closed, usable)
        return self._unless_patchy(self._last_word(usable, closed), seen)

    def _unless_patchy(self, decision: Decision, seen: Sequence[Block]) -> Decision:
        if _void_share(seen) <= MAX_VOID_SHARE:
            return decision
        return self._end(Outcome.VOID, "void_windows", [block for block in seen if block.usable])

    def _on_wall(self, usable: Sequence[Block]) -> Decision | None:
        values = [block.d for block in usable if block.d is not None]
        noise = self.terms.noise.wall
        if self._screened(values):
            return self._end(Outcome.REJECTED, "screen", usable)
        if self._leaps(values) and not any(looks_broken(guard) for guard in self._guards(usable)):
            return self._accept("leap", usable, TimeBasis.WALL)
        rule = self._rule_at(len(values))
        if rule is None:
            return None
        verdict = _verdict(_look(values, rule), self._delta(noise))
        if verdict is Outcome.ACCEPTED:
            return self._accept("bound", usable, TimeBasis.WALL)
        if verdict is Outcome.REJECTED:
            return self._end(Outcome.REJECTED, "futile", usable)
        if rule == self.config.looks[-1]:
            return self._last_word(usable, "last_look")
        waits = self.config.waits_to_reject and self._may_reject(values)
        return self._last_word(usable, "hopeless") if self._is_hopeless(usable) and not waits else None

    def _on_cpu(self, usable: Sequence[Block]) -> Decision | None:
        """The machine is too busy to believe wall time; CPU time may accept and never reject."""
        rule = self._rule_at(len(usable))
        if rule is None:
            return None
        verdict = self._cpu_verdict(usable)
        if verdict is Outcome.REJECTED or rule == self.config.looks[-1]:
            return self._last_word(usable, Closed.ENVIRONMENT)
        return self._accept("bound", usable, TimeBasis.CPU_PROXY) if verdict is Outcome.ACCEPTED else None

    def _is_hopeless(self, usable: Sequence[Block]) -> bool:
        """Whether no series that may accept is likely to do so by the last look."""
        noise, limit = self.terms.noise, self.config.hopeless
        if limit is None or not self.config.looks:
            return False
        last, least = self.config.looks[-1], self.config.foresees_from
        walls = [block.d for block in usable if block.d is not None]
        hopes = [_chance(walls, last, self._delta(noise.wall), least)]
        if self.terms.cpu_proxy and noise.wall is not None and noise.wall.sd > NOISY_WALL:
            cpus = [block.d_cpu for block in usable if is_value(block.d_cpu)]
            complete = len(cpus) == len(usable)  # else it may not accept at all
            hopes.append(_chance(cpus, last, self._delta(noise.cpu), least) if complete else 0.0)
        return max(hopes) < limit

    def _may_reject(self, values: Sequence[float]) -> bool:
        """Whether a later look says no if mean and spread of these blocks stay as they are."""
        delta, centre, error = self._delta(self.terms.noise.wall), mean(values), standard_error(values)
        return any(
            centre + t_quantile(rule.p_futile, rule.blocks - 1) * error * math.sqrt(len(values) / rule.blocks) < delta
            for rule in self.config.looks
            if rule.blocks > len(values)
        )

    def _last_word(self, usable: Sequence[Block], reason: str) -> Decision:
        """Wall time has not decided; on a noisy machine CPU time may."""
        noise = self.terms.noise.wall
        noisy = not self.terms.wall_trusted or (noise is not None and noise.sd > NOISY_WALL)
        if noisy and self._cpu_verdict(usable) is Outcome.ACCEPTED:
            return self._accept("bound", usable, TimeBasis.CPU_PROXY)
        return self._end(Outcome.INDECISIVE, reason, usable)

    def _accept(self, reason: str, usable: Sequence[Block], basis: TimeBasis) -> Decision:
        """Better than the champion, unless something stands against it."""
        if any(beyond_bound(spec, usable, self.terms.bounds) for spec in self.terms.headlines):
            return self._end(Outcome.VOID, "roofline", usable)
        for guard in self._guards(usable):
            if guard.state is GuardState.VIOLATED:
                # Blocks too poor to accept on are too poor to reject on.
                outcome = Outcome.REJECTED if basis is TimeBasis.WALL else Outcome.INDECISIVE
                return self._end(outcome, f"guard:{guard.spec.key}", usable)
        return self._end(Outcome.ACCEPTED, reason, usable, basis)

    def _end(
        self, outcome: Outcome | None, reason: str, usable: Sequence[Block], basis: TimeBasis = TimeBasis.WALL
    ) -> Decision:
        on_wall = basis is TimeBasis.WALL
        noise = self.terms.noise.wall if on_wall else self.terms.noise.cpu
        values = [d for block in usable if (d := block.d if on_wall else block.d_cpu) is not None]
        centre, low, high = estimate(values)
        surprising = math.log(TOO_GOOD if self.terms.mechanism_declared else UNEXPLAINED)
        return Decision(
            outcome=outcome,
            reason=reason,
            used=len(usable),
            mean_d=centre,
            low_d=low,
            high_d=high,
            delta=self._delta(noise),
            floor=self._floor(noise),
            basis=basis,
            too_good=outcome is Outcome.ACCEPTED and centre is not None and centre > surprising,
            looks=tuple(_look(values[: rule.blocks], rule) for rule in self.config.looks if rule.blocks <= len(values)),
            guards=self._guards(usable),
        )

    def _screened(self, values: Sequence[float]) -> bool:
        if self.config.screen is None or len(values) != 1:
            return False
        return values[0] < -max(self.config.screen, self._wild())

    def _leaps(self, values: Sequence[float]) -> bool:
        for rule in self.config.leaps:
            if rule.blocks == len(values):
                return min(values) >= max(math.log(rule.ratio), self._wild(), self._delta(self.terms.noise.wall))
        return False

    def _wild(self) -> float:
        return NOISE_MULTIPLE * self.terms.noise.wall.sd if self.terms.noise.wall else 0.0

    def _rule_at(self, count: int) -> LookRule | None:
        return next((rule for rule in self.config.looks if rule.blocks == count), None)

    def _cpu_verdict(self, usable: Sequence[Block]) -> Outcome | None:
        """What the looks so far say of the CPU-time series; None = nothing."""
        values = [block.d_cpu for block in usable if is_value(block.d_cpu)]
        if not self.terms.cpu_proxy or len(values) < len(usable):
            return None
        delta = self._delta(self.terms.noise.cpu)
        taken = (_look(values[: rule.blocks], rule) for rule in self.config.looks if rule.blocks <= len(values))
        return next((verdict for look in taken if (verdict := _verdict(look, delta))), None)

    def _guards(self, usable: Sequence[Block]) -> tuple[GuardResult, ...]:
        return tuple(guard_result(spec, usable) for spec in self.terms.guards)

    def _delta(self, noise: Spread | None) -> float:
        return max(self.config.delta, self.terms.min_effect, self._floor(noise))

    def _floor(self, noise: Spread | None) -> float:
        """What the last look can resolve on this machine."""
        if noise is None or not self.config.looks:
            return 0.0
        last = self.config.looks[-1].blocks
        return t_quantile(ONE_SIDED, last - 1) * noise.sd / math.sqrt(last)


def _look(values: Sequence[float], rule: LookRule) -> Look:
    centre, error, df = mean(values), standard_error(values), len(values) - 1
    return Look(
        blocks=len(values),
        mean_d=centre,
        accept_bound=centre - t_quantile(rule.p_accept, df) * error,
        futile_bound=centre + t_quantile(rule.p_futile, df) * error,
    )


def _chance(values: Sequence[float], last: LookRule, delta: float, least: int) -> float:
    """Of acceptance at the last look, as these blocks foresee those to come: their mean and spread go on as they are.

    The mean over all blocks must pass both δ and the accept bound; it is predicted by Student's distribution about the
    present mean, with the spread of what is still to be averaged in.
    """
    seen, left = len(values), last.blocks - len(values)
    if seen < least or left <= 0:
        return 1.0
    sd = math.sqrt(seen) * standard_error(values)
    if sd <= 0:
        return 1.0 if mean(values) >= delta else 0.0
    wanted = max(delta, t_quantile(last.p_accept, last.blocks - 1) * sd / math.sqrt(last.blocks))
    return t_upper_tail((wanted - mean(values)) / (sd * math.sqrt(left / (seen * last.blocks))), seen - 1)


def _verdict(look: Look, delta: float) -> Outcome | None:
    if look.accept_bound > 0 and look.mean_d >= delta:
        return Outcome.ACCEPTED
    return Outcome.REJECTED if look.futile_bound < delta else None


def _fault(seen: Sequence[Block]) -> tuple[Outcome, str] | None:
    """What ends a comparison whatever the figures say."""
    if sum(1 for block in seen if block.crashed is Arm.B) >= 2:
        return Outcome.REJECTED, "crash"
    champion, candidate = (sum(block.failed_windows[side] for block in seen) for side in (0, 1))
    if candidate >= 2 and champion == 0:
        return Outcome.REJECTED, "guard:errors"
    bad = [block for block in seen if not block.usable]
    if len(bad) > MAX_VOID_BLOCKS:
        return Outcome.VOID, bad[-1].why_void
    return None


def _void_share(seen: Sequence[Block]) -> float:
    windows = sum(block.windows for block in seen)
    return sum(block.void_windows for block in seen) / windows if windows else 0.0
