"""The run's story as one picture: the headline figure of every round, and the champion as a staircase (SVG)."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 330, 74, 24, 24, 46
LEAST, MOST = 1e-100, 1e100
COLOURS = {"kept": "var(--good)", "failed": "var(--bad)"}


def trajectory_svg(data: dict[str, Any]) -> str:
    """An inline SVG for the report's HTML; uses the page's colour variables. Log scale: gains are ratios."""
    rounds = [{**row, "level": _drawable(row["level"])} for row in data["rounds"]]
    levels = [row["level"] for row in rounds if row["level"]]
    if len(levels) < 2 or not data["headline"]:
        return "<p>Fewer than two measured rounds: nothing to draw.</p>"
    low, high = math.log10(min(levels)), math.log10(max(levels))
    low, high = low - 0.06 * (high - low + 0.1), high + 0.06 * (high - low + 0.1)
    last: int = max(row["number"] for row in rounds)

    def x(number: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / (last + 1)

    def y(level: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(level) - low) / (high - low)

    parts = [_axis(tick, y(tick)) for tick in _ticks(low, high)]
    parts.append(f'<path d="{_staircase(rounds, x, y)}" fill="none" stroke="var(--accent)" stroke-width="2"/>')
    for row in rounds:
        parts.append(_mark(row, x(row["number"]), y(row["level"]) if row["level"] else HEIGHT - BOTTOM))
        parts.append(
            f'<text x="{x(row["number"]):.1f}" y="{HEIGHT - 22}" text-anchor="middle" class="t">{row["number"]}</text>'
        )
    unit = html.escape(f"{data['headline']['name']} at {data['headline']['level']}, {data['headline']['unit']}")
    parts.append(f'<text x="{LEFT}" y="14" class="t">{unit} · line: champion</text>')
    style = "<style>.t{font:12px system-ui,sans-serif;fill:var(--muted)}</style>"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{unit} by round">{style}{"".join(parts)}</svg>'


def _drawable(level: float | None) -> float | None:
    """On a logarithmic scale; a target's own metric may be anything."""
    return level if level is not None and LEAST < level < MOST else None


def _ticks(low: float, high: float) -> list[float]:
    ticks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]


def _axis(tick: float, y: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" class="t">{tick:g}</text>'
    )


def _staircase(rounds: list[dict[str, Any]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    path, level = "", None
    for row in rounds:
        if row["outcome"] == "kept" and row["level"]:
            path += f"{'L' if path else 'M'}{x(row['number']):.1f},{y(level or row['level']):.1f}"
            level = row["level"]
            path += f"L{x(row['number']):.1f},{y(level):.1f}"
    end = x(rounds[-1]["number"])
    return path + (f"L{end:.1f},{y(level):.1f}" if level else "")


def _mark(row: dict[str, Any], x: float, y: float) -> str:
    tip = html.escape(f"round {row['number']}: {row['outcome']} – {row['title']}")
    colour = COLOURS.get(row["outcome"], "var(--muted)")
    if row["level"]:
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"'
        shape += "/>" if row["outcome"] == "kept" else ' fill-opacity="0.35"/>'
    else:
        shape = f'<path d="M{x - 5:.1f},{y - 5:.1f}l10,10m0,-10l-10,10" stroke="{colour}" stroke-width="2.5"/>'
    return f"<g><title>{tip}</title>{shape}</g>"
