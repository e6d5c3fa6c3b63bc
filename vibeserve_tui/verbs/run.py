"""run: synthesize a serving system for a target, in the app or as text."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vibeserve_tui.headless import follow, is_interactive
from vibeserve_tui.inputs.config import load_config
from vibeserve_tui.policies import policy_names
from vibeserve_tui.starting import Wanted, create_run, launch, plan_run, require_answers
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
    parser.add_argument(
        "target", nargs="?", default="tiny-llama-chat", help="a shipped target's name, or a folder with a target.toml"
    )
    parser.add_argument("--profile", default="", help="quick (the default), thorough, or the path of a profile")
    parser.add_argument(
        "--policy", default="", help=f"how it searches: {', '.join(policy_names())}; the profile's unless given"
    )
    parser.add_argument("--backend", default="", help="hardware backend; the target's first one unless given")
    parser.add_argument(
        "--agent",
        default="",
        metavar="NAME",
        help="who plays all roles: playbook (no key, no network), anthropic, openai, claude, codex, …, or a name in [providers]",
    )
    parser.add_argument(
        "--model-name", default="", metavar="NAME", help="the agents' model; the agent's own default else"
    )
    add_limits(parser, more="; 10 unless given, where they cost money")
    parser.add_argument(
        "--allow-unknown-cost", action="store_true", help="go on where a model's price is not known and USD are limited"
    )
    parser.add_argument(
        "--approve", default="", choices=["auto", "each-round", "on-regression"], help="who has the last word"
    )
    parser.add_argument("--max-rounds", type=int, default=None, metavar="N", help="stop after N rounds")
    parser.add_argument("--max-minutes", type=float, default=None, metavar="M", help="plan no round after M minutes")
    parser.add_argument(
        "--model", type=Path, default=None, metavar="DIR", help="weights, for targets that do not bring them"
    )
    parser.add_argument(
        "--trust", default="", metavar="HASH", help="trust hash of a foreign target that you have looked at"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the planner's tie-breaks")
    parser.add_argument(
        "--no-experience", action="store_true", help="ignore what earlier runs on this machine measured"
    )
    parser.add_argument(
        "--forbid",
        action="append",
        default=[],
        metavar="WORD",
        help="what recipes may not do, e.g. compiler, quantisation",
    )
    parser.add_argument(
        "--i-accept-no-sandbox", action="store_true", help="run generated code unconfined where no sandbox works"
    )
    parser.add_argument("--headless", action="store_true", help="text instead of the app")
    parser.add_argument(
        "--events", default="text", choices=["text", "jsonl", "quiet"], help="what a headless run prints"
    )
    parser.add_argument("--detach", action="store_true", help="start it and return; `vibeserve attach` watches")
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    in_app = is_interactive() and not options.headless and not options.detach and options.events == "text"
    wanted = Wanted(
        target=options.target,
        profile=options.profile,
        backend=options.backend,
        policy=options.policy,
        agent=options.agent,
        model_name=options.model_name,
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
        asks=in_app,
        config=load_config(os.environ, project=Path.cwd()),
    )
    plan = plan_run(wanted)
    require_answers(plan)
    directory = create_run(plan, root_of(options))
    launch(directory)
    if options.detach:
        print(directory.name)
        return 0
    if in_app:
        from vibeserve_tui.verbs.app import show

        return show(directory)
    if options.events == "text" and not options.headless:
        print("no terminal: showing the run as text", file=sys.stderr)
    return follow(directory, events=options.events)
