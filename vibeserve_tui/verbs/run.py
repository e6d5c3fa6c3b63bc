"""run: synthesize a serving system for a target, in the app or as text."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from vibeserve_tui.events import ApprovalMode
from vibeserve_tui.headless import follow, is_interactive
from vibeserve_tui.inputs.config import load_config
from vibeserve_tui.inputs.profiles import DEFAULT_PROFILE
from vibeserve_tui.policies import policy_names
from vibeserve_tui.resources import shipped_profiles
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.starting import Wanted, create_run, launch, plan_run, require_answers
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.verbs.common import add_limits, add_runs_dir, root_of

EXAMPLES = """
examples:
  vibeserve run                                       the default target, the default profile
  vibeserve run tiny-llama-chat --max-rounds 4        a shorter one
  vibeserve run ./my-target --trust HASH --headless   a target of your own, as text
  vibeserve run --policy evolve                       breeds one child a round instead of working with an issue board
  vibeserve run --agent anthropic --max-usd 5         a language model instead of the playbook, on a budget
  vibeserve run --events jsonl | jq .kind             the journal's records as they happen
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    _add_what(parser)
    _add_who(parser)
    _add_how_long(parser)
    _add_what_is_allowed(parser)
    add_where_it_shows(parser)
    add_runs_dir(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", nargs="?", default="tiny-llama-chat", help="a shipped target's name, or a folder with a target.toml")
    add("--model", type=Path, default=None, metavar="DIR", help="weights, for targets that do not bring them")
    add("--backend", default="", help="hardware backend; the target's first one unless given")
    profiles = f"{', '.join(shipped_profiles())}, or the path of one; {DEFAULT_PROFILE} unless given"
    add("--profile", default="", help=profiles)
    add("--policy", default="", help=f"how it searches: {', '.join(policy_names())}; the profile's unless given")
    add("--seed", type=int, default=None, help="of the planner's tie-breaks")
    add("--no-experience", action="store_true", help="ignore what earlier runs on this machine measured")


def _add_who(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    players = "playbook (no key, no network), anthropic, openai, claude, codex, …, or a name in [providers]"
    add("--agent", default="", metavar="NAME", help=f"who plays all roles: {players}")
    add("--model-name", default="", metavar="NAME", help="the agents' model; the agent's own default else")
    one = "one role played by another, e.g. implementer=openai or judge=openai:MODEL; once for each"
    add("--role", action="append", default=[], type=_role, metavar="ROLE=NAME", help=one)
    add("--approve", default="", choices=get_args(ApprovalMode), help="who has the last word")


def _role(text: str) -> tuple[str, str]:
    """A role and who plays it; which roles and players there are is known where the run is planned."""
    role, _, player = text.partition("=")
    if not role or not player:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=NAME or ROLE=NAME:MODEL")
    return role, player


def _add_how_long(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-rounds", type=int, default=None, metavar="N", help="stop after N rounds")
    add("--max-minutes", type=float, default=None, metavar="M", help="plan no round after M minutes")
    add_limits(parser, more="; 10 unless given, where they cost money")
    add("--allow-unknown-cost", action="store_true", help="go on where a model has no known price and USD are limited")


def _add_what_is_allowed(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--trust", default="", metavar="HASH", help="trust hash of a foreign target that you have looked at")
    forbidden = "what recipes may not do, e.g. compiler, quantisation"
    add("--forbid", action="append", default=[], metavar="WORD", help=forbidden)
    add("--i-accept-no-sandbox", action="store_true", help="run generated code unconfined where no sandbox works")


def add_where_it_shows(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--headless", action="store_true", help="text instead of the app")
    add("--events", default="text", choices=["text", "jsonl", "quiet"], help="what a headless run prints")
    add("--detach", action="store_true", help="start it and return; `vibeserve attach` watches")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    wanted = Wanted(
        target=options.target,
        profile=options.profile,
        backend=options.backend,
        policy=options.policy,
        agent=options.agent,
        model_name=options.model_name,
        roles=dict(options.role),
        max_usd=options.max_usd,
        max_tokens=options.max_tokens,
        allow_unknown_cost=options.allow_unknown_cost,
        approval=options.approve,
        max_rounds=options.max_rounds,
        max_minutes=options.max_minutes,
        model_dir=options.model,
        trust=options.trust,
        seed=options.seed,
        use_experience=not options.no_experience,
        forbids=tuple(options.forbid),
        allow_no_sandbox=options.i_accept_no_sandbox,
        asks=wants_app(options),
        config=load_config(os.environ, project=Path.cwd()),
    )
    plan = plan_run(wanted)
    for doubt in require_answers(plan):
        print(f"note: {clean_line(doubt)}", file=sys.stderr)
    return opened(create_run(plan, root_of(options)), options)


def wants_app(options: argparse.Namespace) -> bool:
    return is_interactive() and not options.headless and not options.detach and options.events == "text"


def opened(directory: RunDir, options: argparse.Namespace) -> int:
    """Start the run's engine and show it as the options of `add_where_it_shows` say; returns the exit code."""
    launch(directory)
    if options.detach:
        print(directory.name)
        return 0
    if wants_app(options):
        from vibeserve_tui.verbs.app import show

        return show(directory)
    if options.events == "text" and not options.headless:
        print("no terminal: showing the run as text", file=sys.stderr)
    return follow(directory, events=options.events)
