"""Every key of the app in one table: bindings, footer, help and the user's own keys all come from it.

A key belongs to a scope; a screen is a set of scopes that are active together, and no two of them may share a key:
Textual would let the focused widget's binding hide the screen's without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from textual.binding import Binding, BindingType

from vibeserve_tui.errors import ProfileError, did_you_mean


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    keys: str
    """Textual's names, separated by commas."""
    action: str
    label: str
    """For the footer; short."""
    help: str
    """For the help and the palette, 30 characters at most."""
    rank: int = 0
    """Place in the footer when room is short, 1 first; 0 = only in the help."""
    priority: bool = False


KeyTable = Mapping[str, tuple[Key, ...]]

TABLE: KeyTable = {
    "app": (
        Key("app.help", "question_mark,f1", "help", "help", "this help", 2),
        Key("app.leave", "q", "leave", "leave", "leave (asks)", 1),
        Key("app.interrupt", "ctrl+c", "interrupt", "leave", "leave; twice detaches at once", priority=True),
        Key("app.theme", "T", "next_theme", "theme", "next theme"),
        Key("app.settings", "comma", "settings", "settings", "settings", 22),
        Key("app.screenshot", "S", "save_picture", "picture", "save the screen as SVG"),
        Key("app.suspend", "ctrl+z", "suspend_process", "suspend", "to the shell, until fg"),
    ),
    "lines": (
        Key("lines.up", "up,k", "move(-1)", "up", "up"),
        Key("lines.down", "down,j", "move(1)", "down", "down"),
        Key("lines.page-up", "pageup", "page(-1)", "page up", "a page up"),
        Key("lines.page-down", "pagedown", "page(1)", "page down", "a page down"),
        Key("lines.first", "g,home", "edge(-1)", "first", "to the first line"),
        Key("lines.last", "G,end", "edge(1)", "last", "to the last line"),
    ),
    "diff": (
        Key("diff.next-hunk", "n", "hunk(1)", "hunk", "next hunk or hit"),
        Key("diff.previous-hunk", "N", "hunk(-1)", "hunk", "previous hunk or hit"),
        Key("diff.next-file", "right_curly_bracket,alt+down", "file(1)", "file", "next file"),
        Key("diff.previous-file", "left_curly_bracket,alt+up", "file(-1)", "file", "previous file"),
        Key("diff.split", "d", "split", "split", "side by side"),
        Key("diff.wrap", "w", "wrap", "wrap", "wrap long lines"),
    ),
    "run": (
        Key("run.open", "enter", "open", "open", "open the selected line", 3),
        Key("run.review", "a", "review", "review", "review the waiting round", 4),
        Key("run.revert", "v", "revert", "revert to", "make it the champion (asks)", 5),
        Key("run.mark", "m", "mark", "mark", "mark it to compare with", 9),
        Key("run.compare", "c", "compare", "compare", "compare with mark or parent", 6),
        Key("run.issue", "i", "new_issue", "issue", "file an issue", 10),
        Key("run.edit", "e", "edit", "edit", "edit the issue or the memory", 14),
        Key("run.steer", "s", "steer", "steer", "a note for all later plans", 7),
        Key("run.pause", "space", "pause", "pause", "pause or resume", 8),
        Key("run.pin", "p", "pin", "pin", "pin the selected round", 15),
        Key("run.budget", "B", "budget", "budget", "rounds, minutes, approval mode", 19),
        Key("run.ask", "A", "ask", "ask", "ask a question about the run", 13),
        Key("run.cancel", "x", "cancel_step", "cancel", "give up this round (asks)"),
        Key("run.raise", "plus,equals_sign", "priority(-1)", "priority", "the issue is more urgent"),
        Key("run.lower", "minus", "priority(1)", "priority", "the issue is less urgent"),
        Key("run.block", "b", "block", "block", "block the issue, or unblock"),
        Key("run.chart", "t", "chart", "chart", "live chart: TTFT, TPOT, rate …", 21),
        Key("run.zoom", "z", "zoom", "zoom", "zoom the pane", 11),
        Key("run.copy", "y", "copy", "copy", "copy the line or the diff", 16),
        Key("run.editor", "o", "editor", "open in $EDITOR", "diff or memory in $EDITOR", 17),
        Key("run.filter", "slash", "filter", "filter", "filter lines; find in a diff", 12),
        Key("run.previous", "left_square_bracket,left", "round(-1)", "round", "the round before"),
        Key("run.next", "right_square_bracket,right", "round(1)", "round", "the round after"),
        Key("run.follow", "f", "follow", "follow", "follow the newest", 20),
        Key("run.detach", "D", "detach", "detach", "detach: the run goes on", 18),
        Key("run.skills", "L", "skills", "skills", "browse the skill library"),
        Key("run.back", "escape", "back", "back", "back"),
        Key("run.pane", "1,2,3,4,5,6,7,8,9", "", "pane", "go to this pane"),
        Key("run.next-pane", "tab", "app.focus_next", "pane", "next pane"),
        Key("run.previous-pane", "shift+tab", "app.focus_previous", "pane", "the pane before"),
    ),
    "replay": (
        Key("replay.slower", "less_than_sign", "speed(0.5)", "slower", "half the speed", 21),
        Key("replay.faster", "greater_than_sign", "speed(2)", "faster", "twice the speed", 21),
        Key("replay.back", "ctrl+left", "seek(-0.05)", "back", "a twentieth back"),
        Key("replay.forward", "ctrl+right", "seek(0.05)", "forward", "a twentieth forward"),
    ),
    "review": (
        Key("review.approve", "a", "approve", "approve", "approve: keep the round", 1),
        Key("review.revert", "r", "revert", "revert", "turn the round down", 2),
        Key("review.retry", "t", "retry", "retry+comment", "try again, with a comment", 3),
        Key("review.issue", "i", "edit_issue", "edit issue", "edit the round's issue", 6),
        Key("review.pin", "p", "pin", "pin", "pin the round", 7),
        Key("review.auto", "A", "auto", "auto", "approve, and auto from now on", 5),
        Key("review.metrics", "1", "tab('metrics')", "metrics", "the figures"),
        Key("review.diff", "2", "tab('diff')", "diff", "the change"),
        Key("review.judge", "3", "tab('judge')", "judge", "the judge's steps"),
        Key("review.find", "slash", "find", "find", "find in the change", 9),
        Key("review.later", "escape,q", "later", "later", "later: the run waits", 4),
        Key("review.help", "question_mark,f1", "app.help", "help", "help", 8),
    ),
    "start": (
        Key("start.open", "enter", "open", "start", "start, or open the run", 1),
        Key("start.new", "n", "new_target", "new target", "a target from a model folder", 3),
        Key("start.resume", "r", "resume", "resume", "resume the run", 7),
        Key("start.change", "right,e", "change(1)", "change", "the next value", 5),
        Key("start.change-back", "left", "change(-1)", "change", "the value before"),
        Key("start.agents", "a", "agents", "agents", "who plays, with which model", 6),
        Key("start.doctor", "d", "doctor", "doctor", "this machine, with fixes", 4),
        Key("start.mark", "m", "mark", "mark", "mark a run to compare with"),
        Key("start.compare", "c", "compare", "compare", "compare with the marked run"),
        Key("start.delete", "X,delete", "delete", "delete", "delete the chosen run (asks)"),
        Key("start.skills", "s", "skills", "skills", "browse the skill library", 8),
        Key("start.copy", "y", "copy", "copy", "copy the start command", 9),
        Key("start.reload", "u", "reload", "reload", "look at everything again", 10),
        Key("start.pane", "1,2,3,4", "", "pane", "go to this pane"),
        Key("start.next-pane", "tab", "app.focus_next", "pane", "next pane"),
        Key("start.previous-pane", "shift+tab", "app.focus_previous", "pane", "the pane before"),
    ),
    "compare": (
        Key("compare.swap", "x", "swap", "swap", "swap A and B", 2),
        Key("compare.previous-b", "left_square_bracket,left", "change_b(-1)", "B", "the round before as B"),
        Key("compare.next-b", "right_square_bracket,right", "change_b(1)", "change B", "the round after as B", 3),
        Key("compare.previous-a", "less_than_sign", "change_a(-1)", "A", "the round before as A"),
        Key("compare.next-a", "greater_than_sign", "change_a(1)", "change A", "the round after as A", 4),
        Key("compare.revert", "v", "revert", "revert to B", "make B the champion (asks)", 5),
        Key("compare.pin", "p", "pin", "pin B", "pin B", 8),
        Key("compare.again", "b", "bench", "bench both", "measure A and B again (asks)", 5),
        Key("compare.chart", "t", "chart", "times", "times of requests: the next", 4),
        Key("compare.find", "slash", "find", "find", "find in the diff", 8),
        Key("compare.copy", "y", "copy", "copy", "copy the diff", 7),
        Key("compare.next-pane", "tab", "app.focus_next", "pane", "next pane"),
        Key("compare.previous-pane", "shift+tab", "app.focus_previous", "pane", "the pane before"),
        Key("compare.close", "escape,q", "close", "back", "back", 1),
        Key("compare.help", "question_mark,f1", "app.help", "help", "help", 8),
    ),
    "compare-runs": (
        Key("compare-runs.bench", "b", "bench", "bench both", "measure A and B (asks)", 2),
        Key("compare-runs.chart", "t", "chart", "times", "times of requests: the next", 2),
        Key("compare-runs.find", "slash", "find", "find", "find in the diff", 2),
        Key("compare-runs.copy", "y", "copy", "copy", "copy the diff", 3),
        Key("compare-runs.next-pane", "tab", "app.focus_next", "pane", "next pane"),
        Key("compare-runs.previous-pane", "shift+tab", "app.focus_previous", "pane", "the pane before"),
        Key("compare-runs.close", "escape,q", "close", "back", "back", 1),
        Key("compare-runs.help", "question_mark,f1", "app.help", "help", "help", 4),
    ),
    "skills": (
        Key("skills.read", "enter", "read", "read", "read the skill", 2),
        Key("skills.backend", "b", "backend", "backend", "skills of the next backend", 3),
        Key("skills.issue", "i", "issue", "file as issue", "file it as an issue", 4),
        Key("skills.filter", "slash", "filter", "filter", "only names with these letters", 5),
        Key("skills.editor", "o", "editor", "$EDITOR", "open it in $EDITOR", 6),
        Key("skills.close", "escape,q", "close", "back", "back", 1),
        Key("skills.help", "question_mark,f1", "app.help", "help", "help", 7),
    ),
    "settings": (
        Key("settings.next", "right,enter,space", "change(1)", "change", "the next value", 2),
        Key("settings.previous", "left", "change(-1)", "back", "the value before"),
        Key("settings.close", "escape,q", "close", "save and close", "save and close", 1),
    ),
    "players": (
        Key("players.next", "right,space", "change(1)", "agent", "the next agent", 2),
        Key("players.previous", "left", "change(-1)", "agent", "the agent before"),
        Key("players.model", "m,enter", "model", "model", "name its model", 3),
        Key("players.close", "escape,q", "close", "back to the plan", "back to the plan", 1),
    ),
    "wizard": (
        Key("wizard.make", "ctrl+s", "make", "make and check", "write the target, check it", 1, priority=True),
        Key("wizard.close", "escape", "close", "close", "close; a check is stopped", 2),
    ),
    "budget": (
        Key("budget.more", "right,plus,equals_sign", "change(1)", "more", "more, or the next mode", 2),
        Key("budget.less", "left,minus", "change(-1)", "less", "less, or the mode before", 3),
        Key("budget.save", "enter,ctrl+s", "save", "send", "send it to the engine", 1),
        Key("budget.close", "escape,q", "close", "close", "close, change nothing", 4),
    ),
    "memory": (
        Key("memory.save", "ctrl+s", "save", "save", "send the text to the engine", 1, priority=True),
        Key("memory.theirs", "ctrl+t", "theirs", "take theirs", "take the run's version", 3, priority=True),
        Key("memory.close", "escape", "close", "close", "close without saving (asks)", 2),
    ),
    "issue": (
        Key("issue.save", "ctrl+s", "save", "save", "send the issue to the engine", 1, priority=True),
        Key("issue.close", "escape", "close", "close", "close without saving", 2),
    ),
    "help": (
        Key("help.close", "escape,q,question_mark,f1", "close", "close", "close", 1),
        Key("help.filter", "slash", "filter", "search", "only lines with these letters", 2),
    ),
    "confirm": (
        Key("confirm.yes", "y", "answer(1)", "yes", "yes", 1),
        Key("confirm.no", "n,escape,q", "answer(0)", "no", "no", 2),
    ),
    "prompt": (Key("prompt.close", "escape", "close", "no answer", "give no answer", 1),),
    "reader": (
        Key("reader.close", "escape,q,enter", "close", "back", "back", 1),
        Key("reader.copy", "y", "copy", "copy", "copy the text", 2),
    ),
    "leave": (
        Key("leave.detach", "d,enter,ctrl+c", "choose('detach')", "detach", "detach: the run goes on", 1),
        Key("leave.pause", "p", "choose('pause')", "pause", "pause and leave", 3),
        Key("leave.stop", "s", "choose('stop')", "stop", "stop after this round, leave", 4),
        Key("leave.kill", "k", "choose('kill')", "stop now", "stop now, round discarded", 5),
        Key("leave.stay", "escape,q", "choose('')", "stay", "stay", 2),
    ),
}  # fmt: skip

SCREENS: dict[str, tuple[str, ...]] = {
    "run": ("run", "replay", "lines", "diff", "app"),
    "start": ("start", "lines", "app"),
    "compare": ("compare", "lines", "diff"),
    "compare-runs": ("compare-runs", "lines", "diff"),
    "skills": ("skills", "lines"),
    "settings": ("settings", "lines"),
    "budget": ("budget", "lines"),
    "players": ("players", "lines"),
    "help": ("help", "lines"),
    "review": ("review", "lines", "diff"),
    "confirm": ("confirm",),
    "leave": ("leave",),
    "reader": ("reader", "lines"),
}
"""Scopes that are active together."""
TITLES = {
    "app": "Everywhere",
    "lines": "Lists",
    "diff": "Diff",
    "run": "Run",
    "replay": "Replay",
    "review": "Review",
    "start": "Start",
    "compare": "Compare",
    "compare-runs": "Compare runs",
    "skills": "Skills",
}

_NAMES = {
    "question_mark": "?", "comma": ",", "slash": "/", "plus": "+", "equals_sign": "=", "minus": "-", "enter": "⏎", "escape": "esc",
    "left_square_bracket": "[", "right_square_bracket": "]", "left_curly_bracket": "{", "right_curly_bracket": "}",
    "less_than_sign": "<", "greater_than_sign": ">", "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp",
    "pagedown": "PgDn", "shift+tab": "⇧tab", "f1": "F1",
}  # fmt: skip


def bindings(scope: str) -> list[BindingType]:
    """Textual's bindings of one scope; an empty action is a key that the screen binds itself."""
    return [
        Binding(key.keys, key.action, key.help, show=False, id=key.id, priority=key.priority)
        for key in TABLE[scope]
        if key.action
    ]


def shown(key: str) -> str:
    """A key as people read it: `^p`, `⏎`, `alt+↑`."""
    if key in _NAMES:
        return _NAMES[key]
    prefix, plus, rest = key.rpartition("+")
    if plus and prefix == "ctrl":
        return f"^{_NAMES.get(rest, rest)}"
    return f"{prefix}+{_NAMES.get(rest, rest)}" if plus else key


def shown_keys(key: Key) -> str:
    """All keys of an entry: `↑ k`; a run of digits as `1–9`."""
    names = key.keys.split(",")
    return f"{names[0]}–{names[-1]}" if len(names) > 4 else " ".join(shown(name) for name in names)


def with_user_keys(user: Mapping[str, str]) -> KeyTable:
    """The table with the user's keys. Raises ProfileError for an unknown id and for a key that is taken."""
    known = {key.id for keys in TABLE.values() for key in keys if key.action}
    for name in user:
        if name not in known:
            raise ProfileError(
                f"no key binding is called {name!r}{did_you_mean(name, known)}", where="[keymap]", fix="? lists them"
            )
    table = {
        scope: tuple(replace(key, keys=user.get(key.id, key.keys)) for key in keys) for scope, keys in TABLE.items()
    }
    for screen in SCREENS:
        if clash := clash_in(screen, table):
            raise ProfileError(clash, where="[keymap]", fix="give one of them another key")
    return table


def clash_in(screen: str, table: KeyTable) -> str:
    """The first key that two entries of this screen share, as a sentence; empty when there is none."""
    owner: dict[str, str] = {}
    for scope in SCREENS[screen]:
        for key in table[scope]:
            for name in key.keys.split(","):
                if name in owner:
                    return f"the key {shown(name)} means both {owner[name]} and {key.id}"
                owner[name] = key.id
    return ""
