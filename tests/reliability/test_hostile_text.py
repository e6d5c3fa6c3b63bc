"""Foreign text on a screen: more than 200 injections, in every field that is shown, app and text alike."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import cycle
from typing import Any

import pytest

from tests.reliability.injections import injections
from tests.tui import journals
from tests.tui.fakes import FakeServices, ScriptClient
from vibeserve_tui import events as ev
from vibeserve_tui.headless import Printer
from vibeserve_tui.inputs.config import Config, Ui
from vibeserve_tui.report import as_markdown
from vibeserve_tui.safe_text import clean, clean_line
from vibeserve_tui.tui.app import VibeServeApp

FREE_TEXT = frozenset({
    "title", "reason", "text", "detail", "claim", "mechanism", "body", "note", "summary", "what", "value", "source", "task",
    "output", "arguments", "comment", "falsifier", "activation", "name", "provider", "hints", "status_reason", "by",
})  # fmt: skip
"""Members of events that an agent, a server, a skill or a person may have written."""


def is_obeyed(character: str) -> bool:
    """Would a terminal, or a reader's eye, take it for more than a character?"""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") or character in "\u2028\u2029\u034f\u115f\u3164\uffa0" or (
        0xFE00 <= ord(character) <= 0xFE0F or 0xE0000 <= ord(character) <= 0xE0FFF
    )  # fmt: skip


def poisoned(script: journals.Script) -> journals.Script:
    payloads = cycle(injections())
    script.events = [
        (when, ev.parse_event(event.kind, poison(ev.dump_event(event), payloads))) for when, event in script.events
    ]
    return script


def poison(value: Any, payloads: Iterator[str], name: str = "") -> Any:
    match value:
        case dict():
            return {key: poison(member, payloads, key) for key, member in value.items()}
        case list() | tuple():
            return [poison(member, payloads, name) for member in value]
        case str() if name in FREE_TEXT and value and not (name in ("name", "value", "by") and len(value) < 3):
            payload = next(payloads).encode("utf-8", "replace").decode()
            return f"{value} {payload} after"
        case _:
            return value


def test_there_are_more_than_200_of_them(record_property) -> None:
    record_property("trials", f"{len(injections())} injections")
    assert len(injections()) >= 200


@pytest.mark.parametrize("function", [clean, clean_line])
def test_no_injection_survives_cleaning(function) -> None:
    for payload in injections():
        left = [
            character for character in function(f"before {payload} after") if is_obeyed(character) and character != "\n"
        ]
        assert left == [], repr(payload)


def test_no_injection_reaches_a_terminal_without_a_screen() -> None:
    out, err = io.StringIO(), io.StringIO()
    script = poisoned(journals.finished())
    client = ScriptClient(script)
    records = list(client._records)
    printer = Printer("text")
    with redirect_stdout(out), redirect_stderr(err):
        for record in records:
            client.state.apply(record)
            printer.state = client.state
            printer.show(record)
    shown = out.getvalue() + err.getvalue() + as_markdown(client.state)
    assert shown.count("after") > 30
    assert [character for character in shown if is_obeyed(character) and character != "\n"] == []


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["running", "finished", "waiting", "failed"])
async def test_no_injection_reaches_the_screen_or_fires(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fired: list[object] = []
    # The action that markup in foreign text asks for.
    monkeypatch.setattr(VibeServeApp, "action_injected", lambda self, *what: fired.append(what), raising=False)
    script = poisoned(journals.ALL[journal]())
    client = ScriptClient(script)
    client.poll()
    app = VibeServeApp(
        FakeServices(), client, config=Config(ui=Ui(glyphs="unicode", hints=False)), clock=lambda: script.now
    )
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        for key in ("1", "2", "3", "4", "5", "6", "7", "8", "9", "down", "enter", "escape"):
            await pilot.press(key)
            await pilot.pause()
            found, metas = on_screen(app)
            assert [character for character in found if is_obeyed(character)] == [], key
            assert not any("injected" in str(meta) or "x.invalid" in str(meta) for meta in metas)
        for row in range(0, 40, 3):
            await pilot.click(offset=(30, row))
        assert app.is_running
        assert fired == []


def on_screen(app: VibeServeApp) -> tuple[str, list[object]]:
    """All text that is drawn, and what hangs on it."""
    segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
    styles = [segment.style for segment in segments if segment.style is not None]
    return "".join(segment.text for segment in segments), [
        part for style in styles for part in (style.meta, style.link)
    ]
