"""How numbers read: decimals by unit, a sign on every difference, a true minus, `–` for what is not known.

Differences are shown in the metric's own terms (−14 % TTFT), while the gate's ratios say better or worse (> 1 =
better, whatever the direction). This module is the only place where one becomes the other.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from vibeserve_tui.events import Figure
from vibeserve_tui.run_state import Spend
from vibeserve_tui.tui.ink import Ink

UNKNOWN = "–"
WHOLE_UNITS = frozenset({"tok/s", "MiB", "mib", "tokens", "req", ""})
_NAME = re.compile(r"(?:(?P<stat>p\d+|mean|median|max|std)_)?(?P<what>.+?)(?:_(?:ms|s|mib))?$")
_WHAT = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2el": "latency",
    "output_throughput": "throughput",
    "total_token_throughput": "all tokens",
    "request_throughput": "requests",
    "request_goodput": "goodput",
    "peak_rss": "peak memory",
    "cpu_ms_per_token": "CPU per token",
    "error_rate": "errors",
}


class Reading(StrEnum):
    """What an interval says."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    UNKNOWN = ""


READING_INKS = {
    Reading.BETTER: Ink.GOOD,
    Reading.WORSE: Ink.BAD,
    Reading.UNCLEAR: Ink.MUTED,
    Reading.UNKNOWN: Ink.MUTED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of B against A in the metric's own terms, as a share: −0.14 = 14 % less."""

    delta: float | None
    low: float | None = None
    high: float | None = None
    reading: Reading = Reading.UNKNOWN

    @property
    def ink(self) -> Ink:
        return READING_INKS[self.reading]


def metric_label(name: str) -> str:
    """`p50_ttft_ms` as `TTFT p50`, `output_throughput` as `throughput`; an unknown name stays readable."""
    if name in _WHAT:
        return _WHAT[name]
    match = _NAME.match(name)
    if match is None:
        return name
    what = _WHAT.get(match["what"], match["what"].replace("_", " "))
    stat = "p50" if match["stat"] == "median" else match["stat"]
    return f"{what} {stat}" if stat else what


def decimals(unit: str, smallest: float | None) -> int:
    """Decimals of a column: none for rates of hundreds and MiB, one for ms, two for ms below ten."""
    if smallest is None:
        return 0 if unit in WHOLE_UNITS else 1
    if unit in WHOLE_UNITS:
        return 0 if smallest >= 100 or unit in ("MiB", "mib") else 1
    return 2 if smallest < 10 and unit in ("ms", "s") else 1


def number(value: float | None, places: int) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{places}f}".replace("-", "−")


def column_places(unit: str, *values: float | None) -> int:
    """The decimals that all figures of a column share, so that their points align."""
    known = [abs(value) for value in values if value is not None and math.isfinite(value) and value]
    return decimals(unit, min(known, default=None))


def level(value: float | None, unit: str) -> str:
    """A figure that stands alone, with its unit."""
    return f"{number(value, column_places(unit, value))} {unit}".rstrip()


def percent(share: float | None, places: int = 1) -> str:
    """A signed share in per cent without its sign of unit: `−14.4`, `+5.8`, `0.0`."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    text = f"{100 * share:+.{places}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "−")


def interval(change: Change) -> str:
    if change.low is None or change.high is None:
        return ""
    return f"[{percent(change.low)}, {percent(change.high)}]"


def factor(ratio: float | None) -> str:
    """×4.2; two decimals below two, where they matter."""
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return ""
    return f"×{ratio:.2f}" if ratio < 2 else f"×{ratio:.1f}"


def share_of(ratio: float | None, direction: str) -> float | None:
    """The metric's own relative difference for a ratio that is > 1 when better."""
    if ratio is None or ratio <= 0:
        return None
    return ratio - 1 if direction == "max" else 1 / ratio - 1


def ratio_of(a: float | None, b: float | None, direction: str) -> float | None:
    """B over A, > 1 = better."""
    if not a or not b or a <= 0 or b <= 0:
        return None
    return b / a if direction == "max" else a / b


def change_of(figure: Figure) -> Change:
    """The figure's difference with what its interval says; without an interval nothing is claimed."""
    ratio = figure.ratio if figure.ratio is not None else ratio_of(figure.a, figure.b, figure.direction)
    low, high = share_of(figure.ci_low, figure.direction), share_of(figure.ci_high, figure.direction)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    return Change(share_of(ratio, figure.direction), low, high, reading_of(figure.ci_low, figure.ci_high))


def reading_of(ci_low: float | None, ci_high: float | None) -> Reading:
    if ci_low is None or ci_high is None:
        return Reading.UNKNOWN
    if ci_low > 1:
        return Reading.BETTER
    return Reading.WORSE if ci_high < 1 else Reading.UNCLEAR


def clock(seconds: float) -> str:
    """`03:12` below an hour, `2 h 05` above."""
    whole = max(0, int(seconds))
    if whole < 3600:
        return f"{whole // 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600} h {whole % 3600 // 60:02d}"


def took(seconds: float | None) -> str:
    """How long something took: `0.1 s`, `26.0 s`, `1:04`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def roughly(seconds: float | None) -> str:
    """A duration in words for an estimate: `40 s`, `12 min`, `2 h 05`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 3570 else clock(seconds)


def age(seconds: float) -> str:
    """`12 min ago`, `3 h ago`, `yesterday` from one day on."""
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86_400)
    return "yesterday" if days == 1 else f"{days} days ago"


def tokens(count: int) -> str:
    if count < 1000:
        return f"{count}"
    return f"{count / 1000:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def cost(spend: Spend) -> str:
    """`$0.12`; `$0.12+` when a part of it has no known price, and no figure at all when none has."""
    if spend.unpriced and not spend.usd:
        return money(None)
    return money(spend.usd) + ("+" if spend.unpriced else "")


def money(usd: float | None) -> str:
    return "$ unknown" if usd is None else f"${usd:.2f}"
