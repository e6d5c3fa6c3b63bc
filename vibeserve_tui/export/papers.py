"""The texts of an exported project: README.md, run.sh and provenance.json. Nothing here reads or writes a file."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vibeserve_tui import events as ev
from vibeserve_tui.inputs.target import Target
from vibeserve_tui.report import as_data, cell, confirmed_table, interval, times
from vibeserve_tui.run_state import RunState
from vibeserve_tui.safe_text import clean

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Origin:
    """The round that is exported and where it comes from."""

    state: RunState
    plan: ev.RunPlan
    record: ev.RoundRecord
    target: Target
    """With the overrides of the run's backend in place."""

    @property
    def confirmed(self) -> bool:
        """Was this very round compared with the seed at the end of the run, and found better?"""
        confirmed = self.state.confirmation
        return confirmed is not None and confirmed.champion == self.record.number


@dataclass(frozen=True, slots=True)
class Names:
    """What the project's own files are called: a tree may have a file of the usual name already."""

    readme: str
    requirements: str
    model: str
    build: str
    start: str
    provenance: str
    licences: tuple[str, ...]


def provenance(origin: Origin, versions: dict[str, str]) -> str:
    """JSON, the same for every export of a round."""
    state, plan, record = origin.state, origin.plan, origin.record
    facts = as_data(state)
    data: dict[str, Any] = {
        "run": state.run,
        "round": record.number,
        "title": record.task.title,
        "outcome": record.outcome,
        "commit": record.commit,
        "tree": record.tree,
        "target": {
            "name": plan.target,
            "digest": plan.target_digest,
            "title": plan.title,
            "license": origin.target.license,
            "model_sha256": origin.target.model.sha256,
        },
        "backend": plan.backend,
        "device": facts["device"],
        "sandbox": state.sandbox,
        "policy": plan.policy,
        "agents": plan.agents,
        "started_utc": _utc(state.started_wall),
        "finished_utc": _utc(state.finished_wall) if state.finished_wall else None,
        "versions": versions,
        "confirmed": facts["confirmed"] if origin.confirmed else [],
        "confirmed_blocks": facts["confirmed_blocks"] if origin.confirmed else 0,
        "rounds": [_contribution(state.rounds[number]) for number in state.lineage(record.number)],
    }
    return json.dumps(data, indent=1) + "\n"


def _contribution(record: ev.RoundRecord) -> dict[str, Any]:
    figure = record.measured.headline if record.measured else None
    return {
        "round": record.number,
        "title": record.task.title,
        "skill": record.task.skill,
        "params": record.task.params,
        "dropped": list(record.task.dropped),
        "commit": record.commit,
        "ratio": figure.ratio if figure else None,
        "ci_low": figure.ci_low if figure else None,
        "ci_high": figure.ci_high if figure else None,
    }


# ---- run.sh -------------------------------------------------------------------------------------------------------

_RUN = """\
#!/bin/sh
# Starts the server in the environment it was measured in. Set a variable to replace its default.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)

absolute() {
  case $1 in
    /*) printf '%s\\n' "$1" ;;
    *) printf '%s\\n' "$PWD/$1" ;;
  esac
}

PYTHON=${PYTHON:-python3}
case $PYTHON in */*) PYTHON=$(absolute "$PYTHON") ;; esac
MODEL_DIR=${MODEL_DIR:-$here/@MODEL@}
MODEL_DIR=$(absolute "$MODEL_DIR")
BUILD_DIR=${BUILD_DIR:-$here/@BUILD_DIR@}
BUILD_DIR=$(absolute "$BUILD_DIR")
HOST=${HOST:-127.0.0.1}
PORT=${PORT:-8000}
@ENVIRONMENT@
if [ ! -d "$MODEL_DIR" ]; then
  echo "run.sh: no weights in $MODEL_DIR: set MODEL_DIR to their folder" >&2
  exit 2
fi
mkdir -p "$BUILD_DIR"
# Compilers and caches put their temporary files there too, so that nothing is written elsewhere.
TMPDIR=$BUILD_DIR
export MODEL_DIR BUILD_DIR HOST PORT TMPDIR @EXPORTED@
cd "$here"
@BUILD@exec @COMMAND@
"""


def run_script(origin: Origin, names: Names) -> str:
    """POSIX sh that starts the server from any directory; the target's build, if there is one, runs once."""
    serve = origin.target.serve
    defaults = dict.fromkeys(THREADS, "1") | {
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "VIBESERVE_COMMIT": origin.record.commit,
        "VIBESERVE_BACKEND": origin.plan.backend, **serve.env,
    }  # fmt: skip
    build = f'[ -e "$BUILD_DIR/built" ] || {{ {_argv(serve.build)}; : >"$BUILD_DIR/built"; }}\n' if serve.build else ""
    parts = {
        "@MODEL@": names.model,
        "@BUILD_DIR@": names.build,
        "@ENVIRONMENT@": "\n".join(f"{name}=${{{name}:-{shlex.quote(value)}}}" for name, value in defaults.items()),
        "@EXPORTED@": " ".join(defaults),
        "@BUILD@": build,
        "@COMMAND@": _argv(serve.command),
    }
    text = _RUN
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text


def _argv(words: tuple[str, ...]) -> str:
    quoted = ([shlex.quote(part) if part else "" for part in word.split("{python}")] for word in words)
    return " ".join('"$PYTHON"'.join(parts) for parts in quoted)


# ---- README.md ----------------------------------------------------------------------------------------------------


def readme(origin: Origin, names: Names, versions: dict[str, str], fallbacks: Sequence[str]) -> str:
    """`fallbacks`: packages that are only needed where a part of the server cannot run."""
    plan = origin.plan
    parts = [
        f"# A server for {plan.target}",
        _introduction(origin),
        "## Start",
        _start(origin, names, versions),
        _fallbacks(fallbacks),
        _variables(names),
        _weights(origin, names),
        "## Figures",
        _figures(origin),
        "## What is in it",
        _contents(origin),
        "## Where it comes from",
        _provenance_table(origin, names, versions),
        "## Licence",
        _licence(origin, names),
    ]
    return clean("\n\n".join(part for part in parts if part)) + "\n"


def _introduction(origin: Origin) -> str:
    return f"""\
{origin.plan.title or origin.target.title}. This is round {origin.record.number} of the VibeServe run `{origin.state.run}`: made for exactly
this model and workload, and independent of VibeServe."""


def _start(origin: Origin, names: Names, versions: dict[str, str]) -> str:
    endpoints = ", ".join(f"`{endpoint.path}`" for endpoint in origin.target.endpoints)
    return f"""\
```sh
python3 -m venv .venv
.venv/bin/pip install -r {names.requirements}
PYTHON=.venv/bin/python ./{names.start}
```

It was measured with Python {versions.get("python", "3")}. It serves {endpoints} at <http://127.0.0.1:8000>; `GET /health`
answers 200 as soon as it is ready."""


def _fallbacks(packages: Sequence[str]) -> str:
    if not packages:
        return ""
    names = " and ".join(f"`{package}`" for package in packages)
    return (
        f"Optional: {names}, for the part of the server that stands in where another cannot run, such as compiled code on"
        " a machine without a compiler. It says so when it starts."
    )


def _variables(names: Names) -> str:
    return f"""\
| variable | default | |
|---|---|---|
| `HOST`, `PORT` | `127.0.0.1`, `8000` | where it listens |
| `MODEL_DIR` | `./{names.model}` | the weights |
| `BUILD_DIR` | `./{names.build}` | what is compiled at start; nothing is written elsewhere |
| `PYTHON` | `python3` | the interpreter |"""


def _weights(origin: Origin, names: Names) -> str:
    model = origin.target.model
    match model.source:
        case "bundled":
            return f"The weights are in `{names.model}/`."
        case "hub":
            get = f"`hf download {model.hub.id} --revision {model.hub.revision} --local-dir {names.model}`"
            return f"The weights are not included: {get}, or point `MODEL_DIR` at a copy."
        case _:
            digest = f", SHA-256 of the folder `{model.sha256}`" if model.sha256 else ""
            return f"The weights ({model.architecture}, {model.format}{digest}) are not included: point `MODEL_DIR` at their folder."


def _figures(origin: Origin) -> str:
    record = origin.record
    if origin.confirmed:
        device = origin.state.device.name if origin.state.device else "the machine of the run"
        where = f"Confirmed on {device}, champion and seed side by side; another machine will show other figures."
        return f"{confirmed_table(as_data(origin.state))}\n\n{where}"
    figure = record.measured.headline if record.measured else None
    text = "**Not confirmed**: this round was never compared with the seed at the end of its run."
    if record.number == 0:
        text = "This is the target's seed server, round 0: the baseline of its run."
    elif figure is not None:
        limits = interval({"ci_low": figure.ci_low, "ci_high": figure.ci_high})
        champion = origin.state.against.get(record.number, record.task.parent)
        text += f" Against round {champion}, when it was judged: {figure.metric} {times(figure.ratio)} {limits}."
    if record.verdict is None or not record.verdict.passed:
        text += f" **The judge did not accept it**: {cell(record.reason)}."
    return text


def _contents(origin: Origin) -> str:
    rounds = [origin.state.rounds[number] for number in origin.state.lineage(origin.record.number)]
    if not rounds:
        return "The target's seed server, unchanged."
    rows = ["| round | change | recipe | gain over the champion of that time | 95 % |", "|--:|---|---|--:|---|"]
    for record in rounds:
        figure = record.measured.headline if record.measured else None
        ratio, limits = (
            (figure.ratio, {"ci_low": figure.ci_low, "ci_high": figure.ci_high}) if figure else (None, _NONE)
        )
        skill = f"`{record.task.skill}`" if record.task.skill else "–"
        rows.append(f"| {record.number} | {cell(record.task.title)} | {skill} | {times(ratio)} | {interval(limits)} |")
    return "\n".join(rows)


_NONE: dict[str, float | None] = {"ci_low": None, "ci_high": None}


def _provenance_table(origin: Origin, names: Names, versions: dict[str, str]) -> str:
    state, plan, record = origin.state, origin.plan, origin.record
    device = state.device
    rows = {
        "target": f"`{plan.target}`, digest `{plan.target_digest}`",
        "run": f"`{state.run}`, started {_utc(state.started_wall)}, policy {plan.policy}, agents {_agents(plan)}",
        "round": f"{record.number}: {cell(record.task.title)}",
        "commit": f"`{record.commit}`",
        "device": f"{device.name}, backend {device.backend}, fingerprint `{device.fingerprint}`" if device else "–",
        "sandbox": state.sandbox or "–",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "–",
    }
    lines = [f"| {name} | {text} |" for name, text in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, "", f"The same as data: `{names.provenance}`."])


def _agents(plan: ev.RunPlan) -> str:
    return ", ".join(sorted(set(plan.agents.values()))) or "–"


def _licence(origin: Origin, names: Names) -> str:
    files = " and ".join(f"`{name}`" for name in names.licences)
    see = f" See {files}." if files else ""
    return f"The target's files, seed server and weights among them, are under {origin.target.license}.{see}"


def _utc(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(wall_s))
