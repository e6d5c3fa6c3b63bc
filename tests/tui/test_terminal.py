"""The real program in a real terminal: tmux on a private socket, patterns instead of sleeps, exit codes of the pane."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.tui import journals
from vibeserve_tui import events as ev
from vibeserve_tui.state.journal import Journal

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")]
ROOT = Path(__file__).parents[2]

SHOW = """
import os
import sys
from pathlib import Path
from tests.tui.start_services import Library
from vibeserve_tui.client import AttachedClient
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.tui.app import run_app
client = AttachedClient(RunDir(Path(sys.argv[1])))
client.poll()
if "--broken" in sys.argv:
    client.poll = lambda: 1 / 0
if "--stray" in sys.argv:
    poll = client.poll
    def noisy():
        os.write(1, b"STRAY-OUT\\n")
        os.write(2, b"STRAY-ERR\\n")
        os.system("echo STRAY-CHILD")
        return poll()
    client.poll = noisy
sys.exit(run_app(Library(crash_dir=Path(sys.argv[1]).parent), client))
"""


class Terminal:
    def __init__(self, arguments: list[str], cwd: Path, width: int, height: int, variables: str = "") -> None:
        self.socket = f"tui-{uuid.uuid4().hex[:8]}"
        size = ["-x", str(width), "-y", str(height)]
        words = f"env -u COLUMNS -u LINES PYTHONPATH={ROOT} LC_ALL=C.UTF-8 {variables} {shlex.join(arguments)}"
        command = f"{words}; echo EXIT=$?; exec sleep 60"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", *size, "-c", str(cwd), command)

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self.socket, *arguments], capture_output=True, text=True, check=False
        ).stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-S", "-10", "-t", "t")

    def record(self, path: Path) -> None:
        """Keep in a file what the pane's program writes from now on."""
        path.touch()
        self._tmux("pipe-pane", "-t", "t", f"cat >> {shlex.quote(str(path))}")

    def colours(self) -> set[str]:
        """The kinds of colour on the screen: 256 and true colours begin 38;5, 48;2 and so on."""
        return set(re.findall(r"[34]8;[25](?=;)", self._tmux("capture-pane", "-p", "-e", "-t", "t")))

    def title(self) -> str:
        return self._tmux("display-message", "-p", "-t", "t", "#{pane_title}").strip()

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "t", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", "t", "-x", str(width), "-y", str(height))

    def wait(self, pattern: str, timeout_s: float = 20) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if re.search(pattern, shown := self.screen()):
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} is not on the screen:\n{self.screen()}")

    def exit_status(self) -> int:
        """What the shell prints after the app; tmux's own account of a dead pane is empty at times."""
        status = re.search(r"EXIT=(\d+)", self.wait(r"EXIT=\d+"))
        assert status is not None
        return int(status[1])

    def process(self) -> psutil.Process:
        """The app's own process, below the shell of the pane."""
        pane = psutil.Process(int(self._tmux("list-panes", "-t", "t", "-F", "#{pane_pid}")))
        family = [pane, *pane.children(recursive=True)]
        return next(p for p in family if Path(p.cmdline()[0]).name.startswith("python"))

    def close(self) -> None:
        self._tmux("kill-server")


Open = Callable[..., Terminal]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A recorded run in the middle of round 9, moved to the present so that its engine only seems lost."""
    return journals.write_run(journals.running(), tmp_path / "run")


@pytest.fixture
def open_app(run_dir: Path, tmp_path: Path) -> Iterator[Open]:
    script = tmp_path / "show.py"
    script.write_text(SHOW, encoding="utf-8")
    opened: list[Terminal] = []

    def start(*extra: str, width: int = 120, height: int = 40, variables: str = "") -> Terminal:
        arguments = [sys.executable, str(script), str(run_dir), *extra]
        opened.append(Terminal(arguments, tmp_path, width, height, variables))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_the_app_opens_follows_keys_and_sizes_and_leaves_with_0(open_app: Open) -> None:
    terminal = open_app()
    terminal.wait("continuous batching")
    terminal.press("3")
    terminal.wait(r"\[3 Diff\]")
    terminal.resize(80, 24)
    terminal.wait(r"\[3 Diff\]")
    terminal.resize(200, 60)
    terminal.wait("5 Memory")
    terminal.press("q")
    assert terminal.exit_status() == 0
    assert "Traceback" not in terminal.screen()


def test_a_crash_leaves_a_report_and_the_way_back(open_app: Open, tmp_path: Path) -> None:
    terminal = open_app("--broken")
    assert terminal.exit_status() == 1
    shown = terminal.screen()
    assert "the app failed: ZeroDivisionError" in shown
    assert "the run continues: vibeserve attach" in shown
    assert "locals" not in shown
    report = next(tmp_path.glob("crash-*.json")).read_text(encoding="utf-8")
    assert "ZeroDivisionError" in report
    assert "continuous batching" not in report


def test_killing_the_app_leaves_the_run_as_it_was(open_app: Open, run_dir: Path) -> None:
    before = (run_dir / "journal.jsonl").read_bytes()
    terminal = open_app()
    terminal.wait("continuous batching")
    os.kill(terminal.process().pid, signal.SIGKILL)
    assert terminal.exit_status() == 128 + signal.SIGKILL
    assert (run_dir / "journal.jsonl").read_bytes() == before
    open_app().wait("continuous batching")


def test_a_thousand_events_a_second_all_arrive_and_keys_still_answer(open_app: Open, run_dir: Path) -> None:
    terminal = open_app()
    terminal.wait("continuous batching")
    process = terminal.process()
    journal = Journal(run_dir / "journal.jsonl")
    busy, begun, written = sum(process.cpu_times()[:2]), time.monotonic(), 0
    while (elapsed := time.monotonic() - begun) < 4:
        due = int(1000 * elapsed) - written
        if due:
            journal.append(*(ev.AgentSaid(role="implementer", text=f"event {written + i}") for i in range(due)))
            written += due
        time.sleep(0.02)
    share = (sum(process.cpu_times()[:2]) - busy) / (time.monotonic() - begun)
    terminal.press("5")
    terminal.wait(r"\[5 Memory\]", timeout_s=2)
    terminal.wait(f"event {written - 1}", timeout_s=5)
    journal.close()
    # Measured 8 to 17 %; the bound leaves room for a slow and busy machine.
    assert share < 0.5
    assert process.memory_info().rss < 160 * 2**20
    terminal.press("C-c")
    assert terminal.exit_status() == 0


def test_without_a_verb_it_opens_on_the_runs_of_a_folder(run_dir: Path, tmp_path: Path) -> None:
    terminal = Terminal([sys.executable, "-m", "vibeserve_tui", "--runs-dir", str(run_dir.parent)], tmp_path, 100, 30)
    try:
        terminal.wait(r"✗ crashed +tiny-llama-chat +r8/12")
        terminal.press("q")
        assert terminal.exit_status() == 0
    finally:
        terminal.close()


def test_what_others_print_never_reaches_the_screen(open_app: Open, tmp_path: Path) -> None:
    terminal = open_app("--stray")
    terminal.wait("continuous batching")
    log = tmp_path / "stray-output.log"
    deadline = time.monotonic() + 10
    while not {"STRAY-OUT", "STRAY-ERR", "STRAY-CHILD"} <= set(log.read_text(encoding="utf-8").split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "STRAY" not in terminal.screen()
    terminal.press("q")
    assert terminal.exit_status() == 0
    assert "STRAY" not in terminal.screen()


def test_a_crash_s_last_words_reach_the_terminal_behind_the_guard(open_app: Open) -> None:
    terminal = open_app("--stray", "--broken")
    assert terminal.exit_status() == 1
    assert "vibeserve: the app failed" in terminal.screen()


def test_the_window_title_tells_the_run(open_app: Open) -> None:
    terminal = open_app()
    terminal.wait("continuous batching")
    deadline = time.monotonic() + 10
    while "tiny-llama-chat" not in terminal.title():
        assert time.monotonic() < deadline, terminal.title()
        time.sleep(0.05)


def test_a_storm_of_sizes_leaves_a_whole_screen(open_app: Open) -> None:
    terminal = open_app()
    terminal.wait("continuous batching")
    for step in range(30):
        terminal.resize(40 + 17 * step % 170, 10 + 7 * step % 50)
    terminal.resize(50, 12)
    terminal.wait("terminal too small")
    terminal.resize(80, 24)
    terminal.wait(r"(?s)╭─ Rounds ─.*╭─ Agents ─.*q leave")
    shown = terminal.screen().rstrip("\n").split("\n")[-24:]
    assert len(shown) == 24
    assert all(len(row) <= 80 for row in shown)
    assert shown[3].startswith("╭─ Rounds ─")
    assert shown[3].endswith("╮")


@pytest.mark.parametrize(
    ("variables", "expected", "colours"),
    [
        ("NO_COLOR=1 TERM=xterm-256color", "◆ 8←6", None),
        ("TERM=xterm", "◆ 8←6", set()),
        ("TERM=xterm-256color COLORTERM=truecolor", "◆ 8←6", {"38;2", "48;2"}),
        ("LC_ALL=C", "@ 8<6", None),
        ("TERM=linux", "◆ 8←6", set()),
    ],
    ids=["no-color", "16-colours", "truecolor", "lang-c", "linux-console"],
)
def test_every_terminal_shows_the_signs(
    open_app: Open, variables: str, expected: str, colours: set[str] | None
) -> None:
    terminal = open_app(width=80, height=24, variables=variables)
    terminal.wait(re.escape(expected))
    assert colours is None or terminal.colours() == colours
    for key, words in (
        ("?", "Everywhere|next theme|make it the champion"),
        ("Escape", "Rounds"),
        ("3", "Diff"),
    ):
        terminal.press(key)
        terminal.wait(words)
    terminal.press("q")
    assert terminal.exit_status() == 0
    assert "Traceback" not in terminal.screen()


def colours_sent(written: bytes) -> set[str]:
    """The kinds of colour in what was written: of the terminal's own 16, of 256, or any."""
    kinds = set()
    for parameters in re.findall(rb"\x1b\[([0-9;:]*)m", written):
        numbers = iter(int(number or 0) for number in re.split(rb"[;:]", parameters))
        for number in numbers:
            if number in (38, 48):
                kinds.add("256" if next(numbers, 5) == 5 else "any")
                list(numbers)
            elif number in (*range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)):
                kinds.add("16")
    return kinds


@pytest.mark.parametrize(
    ("variables", "kinds"),
    [
        ("NO_COLOR=1 TERM=xterm-256color COLORTERM=truecolor", set()),
        ("TERM=xterm COLORTERM=", {"16"}),
        ("TERM=xterm-256color COLORTERM=truecolor", {"any"}),
    ],
    ids=["no-color", "16-colours", "truecolor"],
)
def test_no_other_colour_is_written_than_the_terminal_takes(
    open_app: Open, tmp_path: Path, variables: str, kinds: set[str]
) -> None:
    written = tmp_path / "written"
    terminal = open_app(width=80, height=24, variables=variables)
    terminal.record(written)
    terminal.wait("continuous batching")
    steps = (
        ("?", "make it the champion"),
        ("Escape", r"\[1 Rounds\]"),
        ("2", r"\[2 Live\]"),
        ("1", r"\[1 Rounds\]"),
        ("Enter", r"\[1 Metrics\]"),
        ("Escape", r"\[1 Rounds\]"),
    )
    for key, words in steps:
        terminal.press(key)
        terminal.wait(words)
    terminal.press("q")
    assert terminal.exit_status() == 0
    deadline = time.monotonic() + 10
    while b"EXIT=0" not in written.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert b"continuous batching" in written.read_bytes()
    assert colours_sent(written.read_bytes()) == kinds
