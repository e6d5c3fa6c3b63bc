"""A key planted wherever keys lie about, and an agent that prints all it can read: it is in nothing that is written."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evaluation.test_programs import program_target
from tests.execution.conftest import launched, new_run_id, python
from tests.fakes import open_run
from tests.reliability.keyrings import ASK, CANARY, desktop
from tests.reliability.synthetic import START
from tests.reliability.test_orphans import ROOT
from vibeserve_tui import commands as cmd
from vibeserve_tui import events as ev
from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.evaluation.programs import run_program
from vibeserve_tui.execution.box import BoxResult, BoxSpec
from vibeserve_tui.execution.ladder import LADDER, Tier
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.state import redaction
from vibeserve_tui.state.run import Run
from vibeserve_tui.steering import Desk

KEYRING = """
import ctypes, platform
kernel, users_keyring = ctypes.CDLL(None).syscall, -4
add_key, keyctl = (248, 250) if platform.machine() == "x86_64" else (217, 219)
def key_in_the_keyring():
    found = ctypes.create_string_buffer(64)
    kernel(keyctl, 11, kernel(keyctl, 10, users_keyring, b"user", b"vibeserve-canary", 0), found, 64)
    return found.value.decode()
"""
"""The kernel's: KEYCTL_SEARCH and KEYCTL_READ."""

EVERYTHING = (
    ASK
    + """
import glob, os
print(dict(os.environ), key_in_the_keyring())
places = glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline") + glob.glob(os.sys.argv[1] + "/.*") + [
    os.path.join(folder, name)
    for top in (os.sys.argv[1], os.path.expanduser("~"), "/root", "/home", "/run/user", "/etc/vibeserve")
    for folder, _, names in os.walk(top) for name in names
]
for place in places[:2000]:
    try:
        print(place, open(place, "rb").read(1000))
    except OSError as error:
        print(place, error)
for address in os.sys.argv[2:]:
    try:
        print(address, handed_out(address))
    except OSError as error:
        print(address, error)
try:
    print(os.popen("keyctl show 2>&1; secret-tool search --all vibeserve key 2>&1; env").read())
except OSError as error:
    print(error)
"""
)

PLANTED = (
    KEYRING
    + ASK
    + """
import asyncio, os, sys
from pathlib import Path
from tests.reliability.keyrings import CANARY, desktop
from tests.reliability.test_canary import let_an_agent_look
folder = Path(sys.argv[1])
planted = kernel(add_key, b"user", b"vibeserve-canary", CANARY.encode(), len(CANARY), users_keyring)
with desktop(folder / "home") as services:
    found = {key_in_the_keyring(), *map(handed_out, services)}
    assert found == {CANARY}, "whoever is in no box gets it from all of them"
    os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={services[0]}"
    asyncio.run(let_an_agent_look(folder, sys.argv[2], services))
kernel(keyctl, 9, planted, users_keyring)
"""
)


async def let_an_agent_look(folder: Path, tier: str, services: list[str]) -> None:
    """As an engine does it: the tool runs in a box, and what it prints goes to journal, blob and tree."""
    launcher = Launcher.start(new_run_id(), tiers=(Tier(tier),))
    redaction.protect_environment()
    run = open_run(folder / "run")
    looking = python(KEYRING + EVERYTHING, folder / "home", *services)
    box = BoxSpec(looking, cwd=run.dir.path, writable=(run.dir.path,))
    printed = (await launcher.run(box, timeout_s=30)).stdout
    await launcher.close()
    assert b"PATH" in printed, "the agent saw nothing at all"
    assert CANARY.encode() not in printed
    run.emit(ev.ToolUsed(role="implementer", call=ev.ToolCall(name="bash", output=printed.decode(errors="replace"))))
    run.dir.put_blob(printed)
    run.dir.workspace.mkdir()
    (run.dir.workspace / "found.txt").write_bytes(printed)
    run.store.snapshot(
        run.dir.workspace, ref="attempts/001/1", parent=None, message=printed.decode("latin-1"), when=START
    )
    run.close()


def home_with_keys(folder: Path) -> dict[str, str]:
    """Environment and `.env`; what a desktop keeps comes later."""
    home = folder / "home"
    (home / ".config" / "vibeserve").mkdir(parents=True)
    for place in (home / ".env", home / ".config" / "vibeserve" / ".env"):
        place.write_text(f"ANTHROPIC_API_KEY={CANARY}\n")
    return {"HOME": str(home), "ANTHROPIC_API_KEY": CANARY, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"}


def hits(folder: Path) -> list[str]:
    """Files that hold the canary, git's objects unpacked."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if "objects" in path.parts and content[:1] == b"\x78":
                content = zlib.decompress(content)
            if CANARY.encode() in content or CANARY[3:-3].encode() in content:
                found.append(str(path))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tier", LADDER, ids=str)
def test_an_agent_that_prints_everything_finds_no_key(tmp_path: Path, tier: Tier) -> None:
    environment = {**os.environ, **home_with_keys(tmp_path)}
    (tmp_path / "run").mkdir()
    argv = [sys.executable, "-c", PLANTED, tmp_path, tier]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert hits(tmp_path / "run") == []
    assert hits(tmp_path / "home") != [], "the search itself finds it where it was planted"


@dataclass
class Beside:
    """A server that is not there, and boxes beside it."""

    launcher: Launcher
    address: tuple[str, int] = ("127.0.0.1", 8000)

    async def beside(self, name: str, spec: BoxSpec, timeout_s: float) -> BoxResult:
        return await self.launcher.run(spec, timeout_s=timeout_s)


@pytest.mark.parametrize("tier", [Tier.BWRAP, Tier.LANDLOCK], ids=str)
async def test_a_program_of_the_target_that_prints_everything_finds_no_key(tmp_path: Path, tier: Tier) -> None:
    home_with_keys(tmp_path)
    with desktop(tmp_path / "home") as services:
        arguments = [str(tmp_path / "home"), *services]
        target = program_target(tmp_path, f"import os\nos.sys.argv[1:] = {arguments}\n{KEYRING}{EVERYTHING}")
        async with launched(tier) as launcher:
            ended = await run_program(target, Beside(launcher), "benchmark", draw=1, level="c1")
    assert ended.box.stdout.count(services[0].encode()) >= 1, ended.box
    assert CANARY.encode() not in ended.box.stdout + ended.box.stderr


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    redaction.protect(CANARY)
    yield open_run(tmp_path)
    redaction.forget()


def test_a_key_that_gets_into_a_text_stays_out_of_everything_written(run: Run, tmp_path: Path) -> None:
    run.dir.post(cmd.Steer(id="x", note=f"my key is {CANARY}"))
    Desk(run, approval_timeout_s=None).scan()
    run.emit(
        ev.AgentSaid(role="implementer", text=f"I found {CANARY}"),
        ev.RunFailed(reason=f"401: {CANARY} is no key", detail=f"Traceback … {CANARY}"),
    )
    run.dir.put_blob(f'{{"authorization": "{CANARY}"}}'.encode())
    run.dir.workspace.mkdir()
    (run.dir.workspace / "server.py").write_text("speed = 2\n")
    said = f"round 1: used {CANARY}"
    commit = run.store.snapshot(run.dir.workspace, ref="attempts/001/1", parent=None, message=said, when=START)
    run.store.note(commit.sha, said)
    run.close()
    assert hits(tmp_path) == []
    assert CANARY not in run.state.status_reason, "what the engine goes on with is what it wrote"


def test_a_tree_that_holds_the_key_is_not_committed(run: Run, tmp_path: Path) -> None:
    run.dir.workspace.mkdir()
    (run.dir.workspace / "server.py").write_text(f"key = '{CANARY}'\n")
    with pytest.raises(WorkspaceError, match=r"server\.py: holds one of your keys"):
        run.store.snapshot(run.dir.workspace, ref="attempts/001/1", parent=None, message="x", when=0)
    assert hits(run.dir.store) == []


KEPT_TO_ITSELF = """
import ctypes, resource, sys
from vibeserve_tui import engine
engine.keep_to_itself()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
print("my key is", sys.argv[1])
raise ValueError(sys.argv[1])
"""


def test_other_programs_of_the_user_cannot_look_into_the_engine_and_its_log_holds_no_key() -> None:
    environment = {**os.environ, "ANTHROPIC_API_KEY": CANARY}
    argv = [sys.executable, "-c", KEPT_TO_ITSELF, CANARY]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "0 (0, 0)\nmy key is [redacted]\n"
    assert "ValueError: [redacted]" in done.stderr
    assert CANARY not in done.stderr


def test_git_does_not_get_the_keys_of_the_engines_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\nenv >> {tmp_path}/seen\nexec /usr/bin/git "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    open_run(tmp_path / "run")
    assert "GIT_DIR=" in (tmp_path / "seen").read_text()
    assert CANARY not in (tmp_path / "seen").read_text()
