"""One question to a CLI: started, listened to, reminded, paid for.

Its folder is private and gone afterwards; in between it holds the configuration that switches off whatever would ask,
update or read instructions from the workspace.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from vibeserve_tui import foreign_trees
from vibeserve_tui.agents.cli import program, signals
from vibeserve_tui.agents.cli.answer import Submission
from vibeserve_tui.agents.cli.doorway import Doorway, doorway
from vibeserve_tui.agents.cli.driver import Call, Driver
from vibeserve_tui.agents.cli.gateway import STAND_IN, gateway_to
from vibeserve_tui.agents.cli.handed_in import HandedIn
from vibeserve_tui.agents.cli.process import COOKIE, Stalled, TimeIsUp, Watch, talk
from vibeserve_tui.agents.cli.program import Program
from vibeserve_tui.agents.cli.spending import Meter
from vibeserve_tui.agents.cli.tool_server import HOST, Address, Desk, serve_http
from vibeserve_tui.agents.protocol import SUBMIT, AgentEvent, AgentRequest, Brief, Result, Said, Used
from vibeserve_tui.errors import AgentError, BudgetSpent, SandboxError
from vibeserve_tui.events import ToolCall, VoiceSettings
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.launcher import Launcher, Pod
from vibeserve_tui.inputs.keys import without_key
from vibeserve_tui.state import durable

BUILT_IN = frozenset({"write", "edit", "apply_patch", "bash", "grep", "glob"})
"""Our tools that every CLI has itself; in its box they reach as far as ours."""
BOX = Limits(memory_mib=12_288, tasks=1024, disk_mib=4096, scratch_mib=1024)
LAST_ERRORS = 600
"""Characters of what a program says on stderr that may become a reason."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is asked, and how it may reach its model."""

    driver: Driver
    program: Program
    settings: VoiceSettings
    key: str = field(default="", repr=False)

    @property
    def upstream(self) -> str:
        """Where requests go that pass through us, and get the key on the way; "" with a login, which is the CLI's own."""
        return self.settings.base_url or (self.driver.endpoint(self.settings.model) if self.key else "")

    @property
    def hosts(self) -> frozenset[str]:
        """Whom the CLI may reach by itself."""
        return frozenset(() if self.upstream else self.driver.hosts(self.settings.model))


@asynccontextmanager
async def opened(terms: Terms, request: AgentRequest) -> AsyncIterator[Conversation]:
    """A conversation with its private folder and its tools. Raises AgentError when the request is not for a CLI."""
    brief, launcher = request.brief, request.launcher
    if brief is None or launcher is None:
        raise AgentError("a coding CLI needs a brief in words and a box to run in")
    folder = Path(tempfile.mkdtemp(prefix="vibeserve-cli-"))
    handed_in = HandedIn(brief.workspace, folder)
    submission = Submission(request.schema, handed_in.keep if brief.writable else lambda: None)
    offered = [tool for tool in brief.tools if tool.name not in BUILT_IN]
    desk = Desk([*offered, submission.tool()], {SUBMIT: submission.refused})
    home = folder / "home"
    home.mkdir(mode=0o700)
    login = () if terms.key or terms.settings.auth == "none" else terms.driver.login
    lent = program.lend(login, home)
    try:
        async with AsyncExitStack() as stack:
            upstream = terms.upstream
            gateway = await stack.enter_async_context(gateway_to(upstream, terms.key)) if upstream else None
            inside = await stack.enter_async_context(serve_http(desk, gateway))
            pod = await stack.enter_async_context(opened_pod(launcher))
            listener = await pod.listen()
            address = replace(inside, port=listener.getsockname()[1])
            door = await stack.enter_async_context(doorway(listener, (HOST, inside.port), terms.hosts))
            yield Conversation(terms, request, brief, pod, folder, desk, submission, address, door)
            await asyncio.to_thread(handed_in.restore)
    finally:
        program.give_back(login, home, lent)
        with suppress(OSError):
            await asyncio.to_thread(foreign_trees.remove, folder)


@asynccontextmanager
async def opened_pod(launcher: Launcher) -> AsyncIterator[Pod]:
    pod = await launcher.open_pod()
    try:
        yield pod
    finally:
        with suppress(SandboxError):  # with the launcher the pod is lost, too
            await pod.close()


@dataclass(slots=True)
class Conversation:
    terms: Terms
    request: AgentRequest
    brief: Brief
    pod: Pod
    folder: Path
    desk: Desk
    submission: Submission
    address: Address
    door: Doorway
    meter: Meter = field(init=False)
    failed: signals.Failed | None = None
    session: str = ""
    _cookie: str = field(default_factory=lambda: secrets.token_hex(16))
    _running: dict[str, tuple[signals.Began, float]] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)
    _last_words: str = ""
    _asked_for: int = 0
    """Turns of the model that the program told of as they began."""
    _calls: int = 0
    _told_of_submit: bool = False
    """Programs report late: only what comes after their own report of it happened afterwards."""

    def __post_init__(self) -> None:
        limits = self.request.limits
        self.meter = Meter(self.request.purse, self.terms.settings.model, limits.usd)

    async def events(self) -> AsyncGenerator[AgentEvent]:
        """Until there is an answer, or there will be none."""
        deadline = asyncio.get_running_loop().time() + self.request.limits.wall_s
        prompt = "\n\n".join(filter(None, (self.brief.stable, self.brief.volatile, self.submission.instructions())))
        for _ in range(1 + self.request.limits.nudges):
            async with aclosing(self._start(prompt, deadline)) as events:
                async for event in events:
                    yield event
            if self._is_over or not self.session:
                return
            prompt = self.submission.reminder()

    @property
    def _is_over(self) -> bool:
        return self.submission.value is not None or self.failed is not None or self._is_hopeless

    @property
    def _is_hopeless(self) -> bool:
        return self.submission.faults >= self.request.limits.bad_arguments

    def result(self) -> Result:
        tokens, usd = self.meter.tokens.total, self.meter.usd
        if self.submission.value is not None:
            return Result("ok", self.submission.value, tokens=tokens, usd=usd)
        if self.failed is not None:
            reason = self._clean(f"{self.terms.driver.name}: {self.failed.reason}{self._in_vain()}")
            return Result(self.failed.status, reason=reason, tokens=tokens, usd=usd, halts=self.failed.halts)
        if self._is_hopeless:
            reason = f"{self.submission.faults} answers did not fit: {self.submission.last_fault}"
            return Result("bad_arguments", reason=reason, tokens=tokens, usd=usd)
        reason = f"{self.terms.driver.name} stopped without an answer"
        return Result("no_submit", reason=reason, tokens=tokens, usd=usd)

    # ---- one start of the program -----------------------------------------------------------------------------------

    async def _start(self, prompt: str, deadline: float) -> AsyncGenerator[AgentEvent]:
        watch = Watch(self.terms.driver.silence_s, deadline, self._is_busy, lambda: self.submission.value is not None)
        self._running.clear()
        try:
            self.meter.start(len(prompt) + len(self.brief.system))
            async with aclosing(talk(self.pod, self._spec(), prompt, watch)) as lines:
                async for line in lines:
                    heard = tuple(self.terms.driver.read(line))
                    for signal in heard:
                        for event in self._heard(signal):
                            yield event
                    watch.expects_exit = any(isinstance(signal, signals.Over) for signal in heard)
                    self._limit_turns()
                    if self.failed is not None or self._is_hopeless or watch.expects_exit or self._goes_on(heard):
                        break
        except BudgetSpent as spent:
            self.failed = signals.Failed("budget", str(spent))
        except Stalled:
            self.failed = signals.Failed("timeout", f"no sign of life for {watch.silence_s:.0f} s")
        except TimeIsUp:
            if self.submission.value is None:
                self.failed = signals.Failed("timeout", f"not done after {self.request.limits.wall_s:.0f} s")
        except SandboxError as error:
            self.failed = signals.Failed("error", str(error), halts=True)
        except AgentError as error:
            self.failed = signals.Failed("error", str(error))
        finally:
            self.meter.close()
        for event in self._flushed():
            yield event
        self._settle()

    @property
    def _turns(self) -> int:
        """As the program tells of them, over all its starts; of one that does not, each call of a tool."""
        return self._asked_for or self._calls

    def _limit_turns(self) -> None:
        most = self.request.limits.turns
        if self._turns > most and self.failed is None:
            self.failed = signals.Failed("turns", f"all {most} turns are used up")

    def _settle(self) -> None:
        """What the program's last words are worth when it did not submit."""
        if self.submission.value is not None:
            self.failed = None
        elif self.failed is None and not self._is_hopeless:
            self.submission.take_words(self._last_words)
            if not self.session and self.submission.value is None:
                self.failed = signals.failure(self._errors() or "it ended without saying anything")

    def _goes_on(self, heard: Sequence[signals.Signal]) -> bool:
        """Whether it still uses tools although it has said itself that its answer was accepted."""
        return self._told_of_submit and any(
            isinstance(signal, signals.Began | signals.Ended) and signal.name not in ("", SUBMIT) for signal in heard
        )

    def _is_busy(self) -> bool:
        return bool(self._running) or self.desk.is_busy

    def _heard(self, signal: signals.Signal) -> Iterator[AgentEvent]:
        if not isinstance(signal, signals.Spoke) or signal.whole:
            yield from self._flushed()
        match signal:
            case signals.Named(session):
                self.session = session
            case signals.Spoke(text, whole):
                self._pieces.append(text)
                if whole:
                    yield from self._flushed()
            case signals.Began():
                self._running[signal.id] = (signal, time.perf_counter())
            case signals.Ended():
                call = self._call(signal)
                self._calls += 1
                self._told_of_submit = self._told_of_submit or (call.name == SUBMIT and call.ok)
                yield Used(call)
            case signals.Asked():
                self._asked_for += 1
                self.meter.expect()
            case signals.Turn(tokens):
                self.meter.turn(tokens)
            case signals.Total(tokens, whole_session):
                self.meter.total(tokens, whole_session=whole_session)
            case signals.Failed():
                self.failed = signal
            case signals.Over():
                pass

    def _flushed(self) -> Iterator[AgentEvent]:
        if self._pieces:
            self._last_words = "".join(self._pieces)
            self._pieces.clear()
            yield Said(self._clean(self._last_words))

    def _call(self, ended: signals.Ended) -> ToolCall:
        began, since = self._running.pop(ended.id, (None, time.perf_counter()))
        return ToolCall(
            name=began.name if began else ended.name or "tool",
            arguments=self._clean(began.arguments if began else ended.arguments),
            ok=ended.ok,
            output=self._clean(ended.output),
            took_s=round(time.perf_counter() - since, 3),
        )

    def _spec(self) -> BoxSpec:
        call = self._asked()
        command = self.terms.driver.command(call)
        try:
            for name, text in command.files.items():
                foreign_trees.write(call.home, name, text.encode())
        except OSError as error:
            if durable.fault_of(error, call.home) is not None:
                raise
            # After its first start the folder is as the program, and whatever that ran, left it.
            raise AgentError(f"its folder cannot be set up again: {error.strerror}", where=name) from error
        workspace = (self.brief.workspace,)
        own = {"PATH": self.terms.program.search_path, COOKIE: self._cookie}
        return BoxSpec(
            argv=(str(self.terms.program.path), *command.argv),
            cwd=self.brief.workspace,
            env={**program.environment(f"http://{HOST}:{self.address.port}"), **command.env, **own},
            read_only=(*self.terms.program.places, *self.brief.readable, *(() if self.brief.writable else workspace)),
            writable=(call.home, *(workspace if self.brief.writable else ())),
            limits=BOX,
            log=self._log,
        )

    def _asked(self) -> Call:
        settings, limits = self.terms.settings, self.request.limits
        return Call(
            model=settings.model,
            effort=settings.effort,
            system=self.brief.system,
            workspace=self.brief.workspace,
            writable=self.brief.writable,
            home=self.folder / "home",
            tools_url=self.address.tools,
            base_url=self.address.model if self.terms.upstream else settings.base_url,
            own_server=bool(settings.base_url),
            key=STAND_IN if self.terms.key else "",
            turns=max(1, limits.turns - self._turns),
            usd=limits.usd,
            session=self.session,
        )

    def _in_vain(self) -> str:
        """Often the very reason: a login that is renewed elsewhere, or a model that somebody else serves."""
        return f" (its box lets it not reach {', '.join(sorted(self.door.refused)[:3])})" if self.door.refused else ""

    # ---- words ------------------------------------------------------------------------------------------------------

    @property
    def _log(self) -> Path:
        return self.folder / "errors.log"

    def _errors(self) -> str:
        """The end of what the program said on stderr, in one line."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:  # which the program may have made as large as it is allowed to
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * LAST_ERRORS))
            return " ".join(file.read().decode(errors="replace").split())[-LAST_ERRORS:]

    def _clean(self, text: str) -> str:
        return without_key(text, self.terms.key)
