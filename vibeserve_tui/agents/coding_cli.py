"""Coding CLIs play the roles: claude, codex, gemini, opencode.

Whichever the operator has installed. The program runs in a box with the workspace, writable only for roles that may
write, and with our tools over MCP. It is never asked to wait for a permission. An answer counts when it came through
`submit` and fits the schema; exit codes and claims of success count for nothing, because the judge looks at the tree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from vibeserve_tui.agents.cli import program, tool_server
from vibeserve_tui.agents.cli.claude import Claude
from vibeserve_tui.agents.cli.codex import Codex
from vibeserve_tui.agents.cli.conversation import Terms, opened
from vibeserve_tui.agents.cli.driver import Driver
from vibeserve_tui.agents.cli.gemini import Gemini
from vibeserve_tui.agents.cli.opencode import OpenCode
from vibeserve_tui.agents.loop.prices import with_prices
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result
from vibeserve_tui.errors import AgentError, EnvironmentFault, InputError, did_you_mean
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.inputs.keys import find_key, require_key

DRIVERS: Mapping[str, type[Driver]] = {driver.name: driver for driver in (Claude, Codex, Gemini, OpenCode)}
NAMES = tuple(DRIVERS)


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        try:
            async with opened(_terms(self._settings), request) as conversation:
                async with aclosing(conversation.events()) as events:
                    async for event in events:
                        yield event
                yield conversation.result()
        except (AgentError, EnvironmentFault, InputError) as error:
            yield Result("error", reason=str(error), halts=True)


def completed(settings: VoiceSettings) -> VoiceSettings:
    """With the price of its model, and the CLI's usual variable for its key, where that is set; else its login is used."""
    usual, priced = _usual_variable(settings), _with_price(settings)
    if settings.api_key_env or settings.auth == "none" or not usual or find_key(usual) is None:
        return priced
    return priced.model_copy(update={"api_key_env": usual})


def _with_price(settings: VoiceSettings) -> VoiceSettings:
    """The price of the model that is named; which one a CLI takes by itself is not known before it did."""
    seller, model = _driver(settings).seller, settings.model
    if not seller:
        seller, _, model = settings.model.partition("/")
    found = with_prices(settings.model_copy(update={"model": model}), sold_by=seller).prices
    return settings.model_copy(update={"prices": {settings.model: found[model]}}) if model in found else settings


def missing(settings: VoiceSettings) -> None:
    """Raises InputError or EnvironmentFault for what keeps the CLI from answering here."""
    driver = _driver(settings)
    if settings.fallback_models:
        raise InputError(
            f"{driver.name} cannot be told of fallback_models", fix="leave them out of its [agent] or role"
        )
    program.find(driver.name, driver.package)
    tool_server.require()
    _require_address(driver, settings)
    if settings.api_key_env:
        require_key(settings.api_key_env)
    elif settings.auth != "none" and not program.is_logged_in(driver.login):
        usual = _usual_variable(settings) or "its provider's key"
        raise InputError(
            f"{driver.name} has neither a key nor a login", fix=f"export {usual}=…, or log in with {driver.name}"
        )


def _terms(settings: VoiceSettings) -> Terms:
    tool_server.require()
    driver = _driver(settings)
    _require_address(driver, settings)
    return Terms(
        driver=driver,
        program=program.find(driver.name, driver.package),
        settings=settings,
        key=require_key(settings.api_key_env) if settings.api_key_env else "",
    )


def _require_address(driver: Driver, settings: VoiceSettings) -> None:
    known = driver.endpoint(settings.model) if settings.api_key_env else driver.hosts(settings.model)
    if not settings.base_url and not known:
        raise InputError(
            f"it is not known where {driver.name} finds the model {settings.model!r}, and it reaches nothing else",
            fix='model = "anthropic/…" or "openai/…", or base_url = "…" in its [agent] or role',
        )


def _driver(settings: VoiceSettings) -> Driver:
    if settings.api not in DRIVERS:
        raise InputError(
            f"no coding CLI {settings.api!r}{did_you_mean(settings.api, DRIVERS)}",
            fix=f"api = one of {', '.join(NAMES)}",
        )
    return DRIVERS[settings.api]()


def _usual_variable(settings: VoiceSettings) -> str:
    """Of the CLI; where that serves many providers, of the one that the model's name begins with."""
    provider, _, rest = settings.model.partition("/")
    return _driver(settings).key_variable or (f"{provider.upper()}_API_KEY" if rest else "")
