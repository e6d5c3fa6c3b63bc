"""compare A B: what two runs ended with, measured beside one another by a run of its own."""

from __future__ import annotations

import argparse

from vibeserve_tui import events as ev
from vibeserve_tui.client import open_state
from vibeserve_tui.errors import InputError, RunError
from vibeserve_tui.run_state import RunState
from vibeserve_tui.starting import create_run, players_of
from vibeserve_tui.state.run_dir import RunDir, find_run
from vibeserve_tui.verbs.common import add_runs_dir, root_of
from vibeserve_tui.verbs.run import add_where_it_shows, opened

EXAMPLE = """
example:
  vibeserve compare 20261120-0814 latest    judges both champions anew, then has the gate measure B against A
"""
MINUTES = 60.0


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLE
    for side in ("a", "b"):
        parser.add_argument(side, metavar=side.upper(), help="a run's id, the unique beginning of one, or `latest`")
    add_where_it_shows(parser)
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    root = root_of(options)
    order = comparison(find_run(options.a, root), find_run(options.b, root))
    return opened(create_run(order, root), options)


def comparison(a: RunDir, b: RunDir) -> ev.RunPlan:
    """The order of a run that measures B's champion beside A's. Raises InputError where that would say nothing."""
    if a.path.resolve() == b.path.resolve():
        raise InputError("a run is compared with another one", where=a.name, fix="vibeserve ls")
    mine, theirs = open_state(a), open_state(b)
    plan, other = _plan_of(a, mine), _plan_of(b, theirs)
    for what, one, two in (
        ("target", plan.target_digest, other.target_digest),
        ("backend", plan.backend, other.backend),
        ("model", plan.model_dir, other.model_dir),
    ):
        if one != two:
            raise InputError(f"the two runs are not of the same {what}", where=f"{a.name}, {b.name}")
    changes = {
        "target_path": str(a.path / "target" / plan.target),  # as it was when A ran
        "title": f"{b.name} against {a.name}",
        "settings": plan.settings | {"attempts": 1},
        "policy": "agent",
        "harvest": False,
        "agents": dict.fromkeys(players_of("agent"), "playbook"),
        "voices": {},
        "allowance": ev.Allowance(),
        "approval": "auto",
        "max_rounds": 1,
        "max_minutes": MINUTES,
        "use_experience": False,
        "asks": False,
        "compares": (_tree(a, mine), _tree(b, theirs)),
    }
    return plan.model_copy(update=changes)


def _plan_of(run: RunDir, state: RunState) -> ev.RunPlan:
    if state.plan is None or not state.champion_commit:
        raise RunError("it has measured no champion", where=run.name)
    return state.plan


def _tree(run: RunDir, state: RunState) -> ev.PastTree:
    return ev.PastTree(run=run.name, round=state.champion, store=str(run.store), commit=state.champion_commit)
