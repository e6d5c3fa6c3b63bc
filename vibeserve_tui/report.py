"""What a run found, as data, Markdown or one self-contained HTML page.

Only confirmed figures are quoted as results: they were measured against the original baseline, on a new seed, at the
end. The figures of single rounds are shown as what they are, each against the champion of its moment.
"""

from __future__ import annotations

import html
from typing import Any

from vibeserve_tui import events as ev
from vibeserve_tui.metrics import level_in_words
from vibeserve_tui.reasons import in_words
from vibeserve_tui.run_state import RunState
from vibeserve_tui.safe_text import clean
from vibeserve_tui.trajectory import trajectory_svg


def as_data(state: RunState) -> dict[str, Any]:
    """The report's facts, JSON-ready; every other form is made from this."""
    plan, device = state.plan, state.device
    return {
        "run": state.run,
        "target": plan.target if plan else "",
        "title": plan.title if plan else "",
        "target_digest": plan.target_digest if plan else "",
        "device": device.model_dump(mode="json") if device else None,
        "policy": plan.policy if plan else "",
        "agent": plan.agents if plan else {},
        "spend": _spend(state),
        "status": state.status,
        "reason": state.status_reason,
        "wall_s": round((state.finished_wall or state.ts_wall) - state.started_wall, 1) if state.started_wall else 0.0,
        "active_s": round(state.active_s, 1),
        "sandbox": state.sandbox,
        "headline": state.headline.model_dump(mode="json") if state.headline else None,
        "baseline": _round(state, 0),
        "champion": _round(state, state.champion),
        "confirmed": [_figure(figure) for figure in state.confirmed[-1].figures] if state.confirmed else [],
        "confirmed_blocks": state.confirmed[-1].blocks if state.confirmed else 0,
        "confirmed_round": state.confirmed[-1].champion if state.confirmed else None,
        "confirmation_holds": state.confirmation is not None,
        "confirmation_doubt": state.confirmed[-1].doubt if state.confirmed else "",
        "contributions": [_contribution(state, number) for number in state.lineage(state.champion)],
        "ablations": [ablation.model_dump(mode="json", exclude={"kind"}) for ablation in state.ablations],
        "rounds": [_round(state, number) for number in sorted(state.rounds)],
        "warnings": state.warnings,
    }


def _spend(state: RunState) -> dict[str, Any]:
    """What agents took. `usd` is None where the price of a part is not known; a cut-off turn counts as estimated."""
    voices = state.plan.voices if state.plan else {}
    return {
        "tokens": state.tokens,
        "usd": None if state.usd is None else round(state.usd, 6),
        "roles": {
            role: {
                "model": voices[role].model if role in voices else "",
                "tokens": spend.tokens,
                "usd": None if spend.unpriced else round(spend.usd, 6),
            }
            for role, spend in sorted(state.spent.items())
            if spend.tokens
        },
    }


def _round(state: RunState, number: int) -> dict[str, Any] | None:
    record = state.rounds.get(number)
    if record is None:
        return None
    figure = record.measured.headline if record.measured else None
    return {
        "number": number,
        "title": record.task.title,
        "kind": record.task.kind,
        "outcome": record.outcome,
        "reason": record.reason,
        "skill": record.task.skill,
        "parent": record.task.parent if number else None,
        "hypothesis": record.task.hypothesis.claim if record.task.hypothesis else "",
        "hypothesis_outcome": record.hypothesis_outcome,
        "why": [row.model_dump() for row in record.task.why],
        "level": figure.b if figure else None,
        "ratio": figure.ratio if figure else None,
        "ci_low": figure.ci_low if figure else None,
        "ci_high": figure.ci_high if figure else None,
        "commit": record.commit,
        "skills": list(record.skills),
        "diff": {"files": record.files_changed, "added": record.lines_added, "removed": record.lines_removed},
        "took_s": record.took_s,
    }


def _figure(figure: ev.Figure) -> dict[str, Any]:
    return {
        "metric": figure.metric,
        "level": figure.level,
        "unit": figure.unit,
        "direction": figure.direction,
        "baseline": figure.a,
        "champion": figure.b,
        "ratio": figure.ratio,
        "ci_low": figure.ci_low,
        "ci_high": figure.ci_high,
        "headroom": figure.headroom,
        "headline": figure.headline,
    }


def _contribution(state: RunState, number: int) -> dict[str, Any]:
    record = state.rounds[number]
    figure = record.measured.headline if record.measured else None
    return {
        "round": number,
        "skill": record.task.skill,
        "title": record.task.title,
        "ratio": figure.ratio if figure else None,
    }


# ---- Markdown -----------------------------------------------------------------------------------------------------


def as_markdown(state: RunState) -> str:
    data = as_data(state)
    parts = [
        f"# {data['target']}: {_headline_sentence(data)}",
        _provenance(data),
        "## Confirmed against the seed",
        confirmed_table(data),
        "## Rounds",
        _rounds_table(data),
    ]
    parts += ["## What each kept round contributed", _contribution_list(data)] if data["contributions"] else []
    parts += ["## Left out again", _ablation_list(data)] if data["ablations"] else []
    parts += ["## Memory", memory] if (memory := _memory(state)) else []
    parts += ["## Warnings", "\n".join(f"- {text}" for text in data["warnings"])] if data["warnings"] else []
    # Titles, reasons and the memory are agents' words, and this may be printed on a terminal.
    return clean("\n\n".join(part for part in parts if part)) + "\n"


def _memory(state: RunState) -> str:
    return state.memory.replace("# Memory\n", "").strip()


def _headline_sentence(data: dict[str, Any]) -> str:
    figure = _gain(data)
    if figure is None:
        return f"no confirmed gain ({data['status']})"
    return f"×{figure['ratio']:.1f} {figure['metric']} at {figure['level']} over the seed, confirmed"


def _gain(data: dict[str, Any]) -> dict[str, Any] | None:
    """The confirmed headline figure: the only one that is quoted as the result."""
    rows = data["confirmed"] if data["confirmation_holds"] else []
    return next((row for row in rows if row["headline"] and row["ratio"] is not None), None)


def _provenance(data: dict[str, Any]) -> str:
    device = data["device"] or {}
    agents = ", ".join(sorted(set(data["agent"].values()))) or "–"
    champion = data["champion"] or {}
    rounds = sum(1 for row in data["rounds"] if row["number"] and row["kind"] != "ablation")
    spend = _spend_line(data["spend"])
    return f"""\
- run `{data["run"]}`, {data["status"]}: {data["reason"]}
- device {device.get("name", "–")}, {device.get("cores", "–")} cores, fingerprint `{device.get("fingerprint", "–")}`
- backend {device.get("backend", "–")}, sandbox {data["sandbox"] or "–"}, policy {data["policy"]}, agents {agents}{spend}
- {rounds} rounds in {data["active_s"] / 60:.1f} min
- champion: round {champion.get("number", "–")}, commit `{champion.get("commit", "")[:12]}`"""


def _spend_line(spend: dict[str, Any]) -> str:
    """The line about money, where agents took tokens."""
    if not spend["tokens"]:
        return ""
    price = "at an unknown price" if spend["usd"] is None else f"${spend['usd']:.2f}"
    models = ", ".join(sorted({role["model"] for role in spend["roles"].values() if role["model"]}))
    return f"\n- agents took {spend['tokens']:,} tokens, {price}{f' ({models})' if models else ''}"


def confirmed_table(data: dict[str, Any]) -> str:
    if data["confirmed_round"] is None:
        return "Nothing was confirmed: the run ended before its final comparison with the seed."
    if not data["confirmed"]:
        return f"Nothing was confirmed: {data['confirmation_doubt'] or 'the champion failed beside the seed'}."
    rows = ["| metric | level | seed | champion | better by | 95 % interval |", "|---|---|--:|--:|--:|---|"]
    rows += [
        f"| {row['metric']}{' ★' if row['headline'] else ''} | {row['level'] or 'all'} | {level_in_words(row['baseline'], row['unit'])}"
        f" | {level_in_words(row['champion'], row['unit'])} | {times(row['ratio'])} | {interval(row)} |"
        for row in data["confirmed"]
    ]
    note = f"{data['confirmed_blocks']} restart blocks, champion and seed side by side, private seed."
    if floors := [row for row in data["confirmed"] if row["headline"] and row["headroom"]]:
        left = ", ".join(f"{row['metric']} at {row['level']} {times(row['headroom'])}" for row in floors)
        note += f" Left before the physical floor of this device: {left}."
    if data["confirmation_doubt"]:
        note += f" Nothing is confirmed by it: {data['confirmation_doubt']}."
    elif not data["confirmation_holds"]:
        note += f" The gain of round {data['confirmed_round']} did not hold, so that it is not the champion any more."
    return "\n".join([*rows, "", note])


def _rounds_table(data: dict[str, Any]) -> str:
    rows = ["| # | from | outcome | change | ratio | 95 % | why it ended so |", "|--:|--:|---|---|--:|---|---|"]
    for row in data["rounds"]:
        parent = "–" if row["parent"] is None else row["parent"]
        ratio, limits = _gain_of(row)
        rows.append(
            f"| {row['number']} | {parent} | {row['outcome']} | {cell(row['title'])} | {ratio} | {limits}"
            f" | {cell(in_words(row['reason']))} |"
        )
    return "\n".join(rows)


def _gain_of(row: dict[str, Any]) -> tuple[str, str]:
    """Ratio and interval of a round; the seed's ratio is to itself, so it is noise and no gain."""
    return (times(row["ratio"]), interval(row)) if row["number"] else ("–", "–")


def _contribution_list(data: dict[str, Any]) -> str:
    return "\n".join(f"- round {c['round']}: {cell(c['title'])} ({times(c['ratio'])})" for c in data["contributions"])


def _ablation_list(data: dict[str, Any]) -> str:
    return "\n".join(
        f"- {a['skill']}: {'dropped' if a['dropped'] else 'stays'} – {cell(a['reason'])}" for a in data["ablations"]
    )


def times(ratio: float | None) -> str:
    return "–" if ratio is None else f"×{ratio:.2f}"


def interval(row: dict[str, Any]) -> str:
    return "–" if row["ci_low"] is None or row["ci_high"] is None else f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


# ---- HTML ---------------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --muted: #59636e; --line: #d1d9e0; --paper: #ffffff; --good: #1a7f37; --bad: #b42318; --accent: #0a58ca }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #9198a1; --line: #3d444d; --paper: #0d1117; --good: #3fb950; --bad: #ff7b72; --accent: #58a6ff } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2.5rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem }
.big { font-size: 2.6rem; font-weight: 650; margin: .4rem 0 } .muted { color: var(--muted) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap } .kept { color: var(--good) } .failed { color: var(--bad) } .reverted, .void, .indecisive { color: var(--muted) }
code, pre { font: .9em ui-monospace, monospace } pre { white-space: pre-wrap } svg { width: 100%; height: auto } details { margin: .2rem 0 }
"""


def as_html(state: RunState) -> str:
    """One page without any outside resource."""
    data = as_data(state)
    title = f"{data['target']}: {_headline_sentence(data)}"
    figure = _gain(data)
    big = f'<p class="big">×{figure["ratio"]:.1f}</p>' if figure else ""
    body = [
        f"<h1>{_e(title)}</h1>{big}",
        f'<ul class="muted">{"".join(f"<li>{_code(line[2:])}</li>" for line in _provenance(data).splitlines())}</ul>',
        f"<h2>Trajectory</h2>{trajectory_svg(data)}",
        f"<h2>Confirmed against the seed</h2>{_html_table(confirmed_table(data))}",
        f"<h2>Rounds</h2>{_html_rounds(data)}",
    ]
    if data["contributions"]:
        body.append(f"<h2>What each kept round contributed</h2><ul>{_html_list(_contribution_list(data))}</ul>")
    if data["ablations"]:
        body.append(f"<h2>Left out again</h2><ul>{_html_list(_ablation_list(data))}</ul>")
    if memory := _memory(state):
        body.append(f"<h2>Memory</h2><pre>{_e(memory)}</pre>")
    if data["warnings"]:
        body.append(f"<h2>Warnings</h2><ul>{''.join(f'<li>{_e(text)}</li>' for text in data['warnings'])}</ul>")
    return clean(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{"".join(body)}</body></html>\n'
    )


def _html_table(markdown: str) -> str:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    if not lines:
        return f"<p>{_e(markdown)}</p>"
    head, align, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    classes = [' class="n"' if mark.endswith(":") else "" for mark in align]

    def row(cells: list[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}{c}>{_e(cell)}</{tag}>' for c, cell in zip(classes, cells, strict=True))}</tr>"

    note = markdown.rsplit("\n", 1)[-1]
    return f'<table>{row(head, "th")}{"".join(row(r, "td") for r in rows)}</table><p class="muted">{_e(note)}</p>'


def _html_rounds(data: dict[str, Any]) -> str:
    rows = [
        '<tr><th class="n">#</th><th>outcome</th><th>change</th><th class="n">ratio</th><th>95 %</th><th>why</th></tr>'
    ]
    for row in data["rounds"]:
        why = "".join(f"<li>{_e(w['what'])}: {_e(w['value'])} {_e(w['source'])}</li>" for w in row["why"])
        detail = f"<details><summary>evidence</summary><ul>{why}</ul></details>" if why else ""
        ratio, limits = _gain_of(row)
        rows.append(
            f'<tr><td class="n">{row["number"]}</td><td class="{row["outcome"]}">{row["outcome"]}</td>'
            f'<td>{_e(row["title"])}{detail}</td><td class="n">{ratio}</td><td>{limits}</td>'
            f"<td>{_e(in_words(row['reason']))}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _html_list(markdown: str) -> str:
    return "".join(f"<li>{_e(line[2:])}</li>" for line in markdown.splitlines())


def _code(text: str) -> str:
    parts = _e(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _e(text: object) -> str:
    return html.escape(str(text))
