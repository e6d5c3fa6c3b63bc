"""Settings of the performance gate: a profile's looks and windows, and what one evaluation adds to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from vibeserve_tui.evaluation.block_stats import squares_about_mean
from vibeserve_tui.metrics import MetricSpec, Value

HOPELESS = 0.05
FORESEES_FROM = 4
ONE_SIDED = 0.95
"""Level of the bounds for futility, guards and the noise floor."""
LARGE_GAIN = 2.0
"""A ratio that stands out from any noise seen so far."""


class LookRule(Value):
    """One interim analysis: at how many blocks, at which one-sided levels."""

    blocks: int = Field(ge=2)
    p_accept: float = Field(gt=0.5, lt=1)
    p_futile: float = Field(default=ONE_SIDED, gt=0.5, lt=1)


class LeapRule(Value):
    """Accept at this many blocks if every one of them shows at least this ratio."""

    blocks: int = Field(ge=2)
    ratio: float = Field(gt=1)


class GateConfig(Value):
    """A profile's gate. Log ratios throughout: 0.02 is about 2 %."""

    name: str
    pairs: PositiveInt
    """Of windows, per block and level."""
    looks: tuple[LookRule, ...]
    leaps: tuple[LeapRule, ...] = ()
    screen: PositiveFloat | None = 0.10
    """Loss in the first block that ends it; None = no screen."""
    hopeless: PositiveFloat | None = None
    """Chance of acceptance by the last look, as foreseen from the blocks so far, below which measuring ends."""
    foresees_from: int = Field(default=3, ge=2)
    """Blocks, from which on the next ones are foreseen: fewer say too little of their own spread."""
    waits_to_reject: bool = False
    """Even without hope it goes on while a later look is foreseen to reject.

    Both defaults are those of the first records, which name neither: they have to give the same decision for ever.
    """
    delta: NonNegativeFloat = 0.02
    """Smallest gain that counts."""
    window_s: PositiveFloat
    """A window is the smallest number of passes that takes the champion this long."""
    warm_up_s: NonNegativeFloat
    wall_cap_s: PositiveFloat
    """After this time no further block is started."""
    confirmation_blocks: int = Field(default=4, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> GateConfig:
        blocks = [rule.blocks for rule in self.looks]
        if blocks != sorted(set(blocks)):
            raise ValueError("looks must be at increasing numbers of blocks")
        return self

    @classmethod
    def quick(cls) -> GateConfig:
        levels = ((3, 0.999), (4, 0.997), (6, 0.997), (8, 0.997))
        return cls(
            name="quick",
            pairs=2,
            looks=tuple(LookRule(blocks=blocks, p_accept=p) for blocks, p in levels),
            leaps=(LeapRule(blocks=2, ratio=2.0), LeapRule(blocks=3, ratio=1.5)),
            hopeless=HOPELESS,
            foresees_from=FORESEES_FROM,
            waits_to_reject=True,
            window_s=1.0,
            warm_up_s=0.7,
            wall_cap_s=240,  # eight blocks of a server as slow as the default target's seed
        )

    @classmethod
    def thorough(cls) -> GateConfig:
        looks = tuple(LookRule(blocks=blocks, p_accept=0.998) for blocks in (4, 8, 12))
        return cls(
            name="thorough",
            pairs=4,
            looks=looks,
            hopeless=HOPELESS,
            foresees_from=FORESEES_FROM,
            waits_to_reject=True,
            window_s=2.0,
            warm_up_s=2.0,
            wall_cap_s=300,
            confirmation_blocks=8,
        )

    @classmethod
    def gpu(cls) -> GateConfig:
        """Default of accelerators: long windows, and a δ of 1 % that the noise floor raises on a busy machine."""
        looks = tuple(LookRule(blocks=blocks, p_accept=0.998) for blocks in (4, 8, 12))
        return cls(
            name="gpu",
            pairs=2,
            looks=looks,
            hopeless=HOPELESS,
            foresees_from=FORESEES_FROM,
            waits_to_reject=True,
            delta=0.01,
            window_s=10.0,
            warm_up_s=5.0,
            wall_cap_s=900,
        )

    def for_windows_of(self, seconds: float) -> GateConfig:
        """The same gate where one window takes the champion this long: no more pairs than a block's load asks for.

        A slow server's least window, one pass over the level's requests, may be as long as all windows of a block
        should be. Starts then tell more than further windows: six blocks of one pair take the time of four of two, and
        the accept bound of the quick gate lies 1.9 standard deviations of a block below their mean instead of 3.5.
        """
        return self.model_copy(
            update={"pairs": min(self.pairs, max(1, math.ceil(self.pairs * self.window_s / seconds)))}
        )

    def for_gain_of(self, certain: float) -> GateConfig:
        """For sides of which one is surely this many times as fast: both get the same requests, so the other one works
        for as many windows. A large gain needs neither a second pair in each block nor windows of full length.
        """
        if certain < LARGE_GAIN:
            return self
        return self.model_copy(update={"pairs": 1, "window_s": self.window_s / 2})

    def for_retest(self, times: int = 1) -> GateConfig:
        """The same gate for a tree that was measured so many times before: each halves the error probability, so that
        however many tries stay within twice that of one.
        """
        share = 0.5**times
        looks = tuple(rule.model_copy(update={"p_accept": 1 - share * (1 - rule.p_accept)}) for rule in self.looks)
        return self.model_copy(update={"name": f"{self.name} re-test", "looks": looks}) if times else self

    def for_confirmation(self) -> GateConfig:
        """A fixed number of blocks, once more as many if they do not settle it; accepted = better at 95 %, two-sided."""
        counts = (self.confirmation_blocks, 2 * self.confirmation_blocks)
        return self.model_copy(
            update={
                "name": f"{self.name} confirmation",
                "looks": tuple(LookRule(blocks=n, p_accept=0.975, p_futile=0.975) for n in counts),
                "leaps": (),
                "screen": None,
                "hopeless": None,
                "delta": 0.0,
                "wall_cap_s": 3 * self.wall_cap_s,
            }
        )

    def for_noise(self) -> GateConfig:
        """An A/A run: measures and decides nothing."""
        none = {"looks": (), "leaps": (), "screen": None, "hopeless": None}
        return self.model_copy(update={"name": f"{self.name} A/A", **none})


class Spread(Value):
    """Pooled standard deviation of block values."""

    sd: NonNegativeFloat
    df: PositiveInt

    @classmethod
    def of(cls, *series: Sequence[float]) -> Spread | None:
        """Each series varies about its own mean; None when none of them has two values."""
        df = sum(len(values) - 1 for values in series if values)
        if df < 1:
            return None
        return cls(sd=math.sqrt(math.fsum(squares_about_mean(values) for values in series if values) / df), df=df)


class Noise(Value):
    """How much the blocks of identical servers differ on this machine; None = not measured."""

    wall: Spread | None = None
    cpu: Spread | None = None


class Terms(Value):
    """What one evaluation adds to the profile's gate."""

    min_effect: NonNegativeFloat = 0.0
    noise: Noise = Noise()
    headlines: tuple[MetricSpec, ...] = ()
    guards: tuple[MetricSpec, ...] = ()
    bounds: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Physical bound of a headline, by metric key: nothing real lies beyond it."""
    mechanism_declared: bool = False
    """The candidate says why it should be faster."""
    cpu_proxy: bool = False
    """CPU time may speak: a cpu device, and equal threads and wait policy on both sides."""
    wall_trusted: bool = True
    """False when the machine never became quiet: only CPU time is believed."""
