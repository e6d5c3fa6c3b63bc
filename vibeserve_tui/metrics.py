"""What is measured: metrics with their direction and unit, and the gate's answer.

Values only: nothing here measures, decides or formats. A direction is never assumed, and a figure that was not reported
is None and never 0. Where figures come from stands in the evidence that they were computed from.
"""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

DEFAULT_TOLERANCE = 0.05
"""A guard's tolerated worsening, as a log ratio, when its row names neither a tolerance nor a limit."""


class Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Direction(StrEnum):
    MAX = "max"
    MIN = "min"


class Role(StrEnum):
    HEADLINE = "headline"
    GUARD = "guard"
    INFO = "info"


class Basis(StrEnum):
    """What a guard is held against: the champion at every gate, or the baseline at confirmations."""

    CHAMPION = "champion"
    BASELINE = "baseline"


class Stat(StrEnum):
    """How a figure sums up its requests, as its name says."""

    MEAN = "mean"
    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    TOTAL = "total"
    """A rate or sum over the window."""
    PEAK = "peak"

    @property
    def tail(self) -> float | None:
        """The quantile of a tail percentile, which needs the pooled requests of a whole block."""
        return {Stat.P90: 0.90, Stat.P95: 0.95, Stat.P99: 0.99}.get(self)

    @property
    def least_samples(self) -> int:
        """Below, a tail percentile is one or two requests' luck. 95 and 99 have ten samples beyond them; 90 only two,
        which is enough for a guard that compares the same requests many times, and for nothing else.
        """
        return {Stat.P90: 20, Stat.P95: 200, Stat.P99: 1000}.get(self, 1)


_STAT_BY_PREFIX = {
    "mean": Stat.MEAN,
    "median": Stat.P50,
    "p50": Stat.P50,
    "p90": Stat.P90,
    "p95": Stat.P95,
    "p99": Stat.P99,
    "max": Stat.PEAK,
    "peak": Stat.PEAK,
}


class MetricSpec(Value):
    """One declared metric: a row of `metrics` or `guards` in target.toml.

    A row says `headline = true` where the value says `role = "headline"`; a row with `tolerance`, `basis` or
    `max` is a guard, and `as_guard()` makes one of a row with none of them.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$")
    """Key of the load generator (vLLM's names), or a path in what the target's benchmark writes: `latency_ms.p50`."""
    unit: str = Field(min_length=1)
    direction: Direction
    level: str | None = None
    """Load level it is read at; None = a figure of the process, over all of its windows."""
    role: Role = Role.INFO
    weight: PositiveFloat = 1.0
    """Share in the headline when a target declares several headlines."""
    min_effect: NonNegativeFloat = 0.0
    """Smallest gain worth having, as a log ratio; may only raise the profile's."""
    tolerance: NonNegativeFloat | None = None
    basis: Basis = Basis.CHAMPION
    max: PositiveFloat | None = None
    """Absolute limit of a guard, in its own unit."""

    @model_validator(mode="before")
    @classmethod
    def _role_of_row(cls, row: object) -> object:
        if not isinstance(row, dict) or "role" in row:
            return row
        fields = dict(row)
        headline = fields.pop("headline", False)
        if not isinstance(headline, bool):
            raise ValueError("headline must be true or false")  # noqa: TRY004  pydantic reports ValueError, not TypeError
        if headline:
            fields["role"] = Role.HEADLINE
        elif fields.keys() & {"tolerance", "basis", "max"}:
            fields["role"] = Role.GUARD
        return fields

    @model_validator(mode="after")
    def _sound(self) -> MetricSpec:
        if self.role is not Role.GUARD and (self.tolerance is not None or self.max is not None):
            raise ValueError("tolerance and max belong to a guard")
        if self.max is not None and self.direction is Direction.MAX:
            raise ValueError('max limits a metric of direction "min"')
        return self

    @property
    def key(self) -> str:
        return f"{self.name}@{self.level}" if self.level else self.name

    @property
    def stat(self) -> Stat:
        path, _, last = self.name.rpartition(".")
        return _STAT_BY_PREFIX.get(last if path else last.partition("_")[0], Stat.TOTAL)

    @property
    def quantity(self) -> str:
        """What is summed up: `ttft_ms` for `p90_ttft_ms`."""
        prefix, _, rest = self.name.partition("_")
        return rest if prefix in _STAT_BY_PREFIX else self.name

    @property
    def tolerated(self) -> float | None:
        """Tolerated worsening as a log ratio; None = only the absolute limit counts."""
        if self.tolerance is None and self.max is None:
            return DEFAULT_TOLERANCE
        return self.tolerance

    def as_guard(self) -> MetricSpec:
        return self.model_copy(update={"role": Role.GUARD})


class Outcome(StrEnum):
    """The gate's answer."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INDECISIVE = "indecisive"
    VOID = "void"


class TimeBasis(StrEnum):
    """Which series decided: wall time, or CPU time on a machine too busy for wall time."""

    WALL = "wall"
    CPU_PROXY = "cpu_proxy"


class Look(Value):
    """One interim analysis; log ratios, > 0 = candidate better."""

    blocks: int
    mean_d: float
    accept_bound: float
    """Lower bound of d at the accept level; accepted when > 0 and mean_d ≥ delta."""
    futile_bound: float
    """Upper bound of d; rejected when < delta."""


class GuardState(StrEnum):
    KEPT = "kept"
    VIOLATED = "violated"
    UNRESOLVED = "unresolved"
    """The interval reaches over the tolerance: shown, never a reason to reject."""
    MISSING = "missing"


class GuardResult(Value):
    """One guard at the deciding look; d as everywhere, so −0.05 is about 5 % worse."""

    spec: MetricSpec
    state: GuardState
    mean_d: float | None = None
    high_d: float | None = None
    """95 % upper bound of d."""
    note: str = ""


class Figure(Value):
    """One metric of a comparison: A (champion) beside B (candidate), medians over the blocks used."""

    spec: MetricSpec
    a: float | None
    b: float | None
    ratio: float | None
    """> 1 = B better, in the metric's own direction."""
    ci_low: float | None
    ci_high: float | None
    """95 %, two-sided; None with fewer than two blocks."""


class Comparison(Value):
    """Candidate against champion: what the gate saw and what it says."""

    champion: str
    candidate: str
    """Commits."""
    headline: MetricSpec
    """The first of them when several are weighted into one."""
    outcome: Outcome
    reason: str
    blocks: tuple[float | None, ...]
    """d of each block in time order; None = void."""
    used: int
    """Valid blocks behind the decision."""
    mean_d: float | None
    ratio: float | None
    ci_low: float | None
    ci_high: float | None
    delta: float
    """Smallest log ratio that counts as a gain here; never below `floor`."""
    floor: float
    """Log ratio that the last look can resolve on this machine, from the A/A noise."""
    basis: TimeBasis
    provisional: bool
    """Accepted on the CPU proxy: measured again before a report quotes it."""
    too_good: bool
    """Large or unexplained enough to be judged and confirmed again before it is believed."""
    looks: tuple[Look, ...]
    guards: tuple[GuardResult, ...]
    figures: tuple[Figure, ...]
    workload_sha256: str
    device_fingerprint: str
    evidence: str | None = None
    """Blob from which the decision can be recomputed."""
    took_s: float


def log_ratio(direction: Direction, champion: float | None, candidate: float | None) -> float | None:
    """d: > 0 = candidate better; None when a value is missing, not finite or not positive."""
    if champion is None or candidate is None:
        return None
    if not (math.isfinite(champion) and math.isfinite(candidate) and champion > 0 and candidate > 0):
        return None
    # Two logarithms, not one of the quotient: extreme values must not overflow, and swapping sides negates d exactly.
    d = math.log(candidate) - math.log(champion)
    return d if direction is Direction.MAX else -d


# ---- in words -----------------------------------------------------------------------------------------------------


def gain_in_words(ratio: float | None, low: float | None = None, high: float | None = None, *, places: int = 2) -> str:
    """`×1.42 [1.39, 1.45]`, without an interval that is not known, and "" without a ratio."""
    if ratio is None:
        return ""
    interval = "" if low is None or high is None else f" [{low:.{places}f}, {high:.{places}f}]"
    return f"×{ratio:.{places}f}{interval}"


def level_in_words(value: float | None, unit: str) -> str:
    """`388 tok/s`, `12.3 ms`, `0.0041 s`; a dash for what is not known."""
    if value is None:
        return "–"
    size = abs(value)
    number = f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 or not value else f"{value:.3g}"
    return f"{number} {unit}".rstrip()
