"""ask: a question about a run, answered by a model from the records, or looked up in them."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vibeserve_tui.client import open_state
from vibeserve_tui.errors import InputError, VibeServeError
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.run_state import RunState, Spend
from vibeserve_tui.safe_text import clean, clean_line
from vibeserve_tui.verbs.common import add_run, run_of

if TYPE_CHECKING:  # a lookup needs no agents
    from vibeserve_tui.agents.protocol import Used, Waiting

EXAMPLES = """
examples:
  vibeserve ask latest "why was round 4 rejected?"
  vibeserve ask latest "what is left to try?" --agent anthropic
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    add_run(parser, optional=False)
    parser.add_argument("question", help="in your own words")
    parser.add_argument(
        "--agent", default="", help="who answers; who planned the run unless given, playbook for a lookup"
    )
    parser.add_argument("--model-name", default="", metavar="NAME", help="the model that answers")


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    from vibeserve_tui.agents.protocol import load_voice
    from vibeserve_tui.roles.asking import answer
    from vibeserve_tui.roles.lookup import lookup
    from vibeserve_tui.roles.workplace import needs_words

    if not options.question.strip():
        raise InputError("there is no question", fix='vibeserve ask latest "what is left to try?"')
    directory = run_of(options)
    state = open_state(directory)
    settings = _settings(options, state)
    voice = load_voice(settings) if settings else None
    if voice is None or not needs_words(voice):
        print(clean(lookup(state, options.question)))
        return 0
    told = asyncio.run(answer(directory, state, voice, options.question, _show))
    print(clean(told.text))
    if told.rounds:
        print(f"rests on round{'s' if len(told.rounds) > 1 else ''} {', '.join(map(str, told.rounds))}")
    _look(f"{told.spent.tokens:,} tokens, {_price(told.spent)}")
    return 0


def _settings(options: argparse.Namespace, state: RunState) -> VoiceSettings | None:
    """Who was asked for; else who planned this run or is set for runs, if they still can be had here."""
    from vibeserve_tui.agents.protocol import prepared
    from vibeserve_tui.inputs.config import load_config
    from vibeserve_tui.inputs.profiles import AgentSettings
    from vibeserve_tui.policies import asked_by
    from vibeserve_tui.starting import voice_of

    config = load_config(os.environ, project=Path.cwd())
    if options.agent:
        return voice_of(AgentSettings(provider=options.agent, model=options.model_name), config)
    planner = state.plan.voices.get(asked_by(state.plan.policy)) if state.plan else None
    own = planner if planner is not None and planner.provider != "playbook" else None
    usual = config.run.agent
    if options.model_name and own is None and not usual:
        raise InputError("neither the run nor your settings name an agent for this model", fix="give --agent, too")
    try:
        if own is not None:
            return prepared(own.model_copy(update={"model": options.model_name or own.model}))
        model = options.model_name or config.run.model or ""
        return voice_of(AgentSettings(provider=usual, model=model), config) if usual else None
    except VibeServeError as error:
        _look(f"no model can be asked: {error}")
        return None


def _show(event: Used | Waiting) -> None:
    from vibeserve_tui.agents.protocol import Waiting

    if isinstance(event, Waiting):
        _look(f"waits {event.wait_s:.0f} s: {event.why}")
    else:
        _look(f"{event.call.name} {event.call.arguments}")


def _look(text: str) -> None:
    print(clean_line(text)[:200], file=sys.stderr)


def _price(spent: Spend) -> str:
    return "price unknown" if spent.unpriced else f"${spent.usd:.4f}"
