"""Secrets: exact values in every form they travel in, well-known shapes, and nothing else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui import events as ev
from vibeserve_tui.state import redaction
from vibeserve_tui.state.journal import Journal, read_journal
from vibeserve_tui.state.redaction import MARK, RedactingStream, redact, redact_bytes

KEY = 'canary/+"key"\\with=odd?characters&é'


@pytest.fixture(autouse=True)
def nothing_else_is_known() -> Iterator[None]:
    redaction.forget()
    yield
    redaction.forget()


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "Bearer "])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_an_announced_value_is_found_in_every_form(before: str, after: str) -> None:
    redaction.protect(KEY)
    whole = before + KEY + after
    in_base64 = base64.b64encode(whole.encode()).decode()
    for form in (whole, json.dumps(whole), quote(whole, safe=""), in_base64):
        assert MARK in redact(form), form
        assert MARK.encode() in redact_bytes(form.encode()), form


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_announced_value_survives(value: str, before: str, after: str) -> None:
    redaction.forget()
    redaction.protect(value)
    assert value not in redact(before + value + after) or value in MARK


@pytest.mark.parametrize(
    "text",
    [
        "sk-ant-api03-" + "a1B2" * 10, "sk-proj-" + "x" * 24, "AIza" + "b" * 35, "hf_" + "c" * 34, "ghp_" + "d" * 36,
        "github_pat_" + "e" * 60, "AKIA" + "F" * 16, "Authorization: Bearer " + "g" * 30,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIE\nand no end",
    ],
)  # fmt: skip
def test_what_looks_like_a_key_is_taken_out(text: str) -> None:
    cleaned = redact(f"before {text} after")
    assert MARK in cleaned
    assert not any(part in cleaned for part in ("a1B2", "xxxx", "bbbb", "cccc", "dddd", "eeee", "FFFF", "gggg", "MIIE"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a sketch of sk-learn",
        "hf_hub and gh_pages",
        "AIza",
        "0123456789abcdef" * 4,
        "BEGIN CERTIFICATE",
        "monkey=1",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    redaction.protect("short")
    assert redact(text) == text
    assert redact_bytes(bytes(range(256))) == bytes(range(256))


def test_variables_whose_names_say_so_are_secret() -> None:
    environment = {
        "ANTHROPIC_API_KEY": "canary-anthropic", "MY_TOKEN": "canary-token", "DB_PASSWORD": "canary-password",
        "AWS_SECRET_ACCESS_KEY": "canary-aws", "HOME": "/home/someone", "TOKENIZERS_PARALLELISM": "falsefalse",
        "KEYBOARD": "qwertzuiop",
    }  # fmt: skip
    redaction.protect_environment(environment)
    cleaned = redact(" ".join(environment.values()))
    assert "canary" not in cleaned
    assert all(value in cleaned for value in ("/home/someone", "falsefalse", "qwertzuiop"))


def test_a_secret_of_digits_does_not_break_the_journals_numbers(tmp_path: Path) -> None:
    for digits in range(10**9, 10**9 + 20):
        redaction.protect(str(digits)[:8])
    journal = Journal(tmp_path / "j")
    journal.append(ev.Heartbeat(active_s=1000000000.5), ev.Warned(text="pin 10000000 typed"))
    journal.close()
    events = [record.event for record in read_journal(tmp_path / "j")]
    assert events == [ev.Heartbeat(active_s=1000000000.5), ev.Warned(text=f"pin {MARK} typed")]


def test_what_the_engine_prints_passes_through_the_sink() -> None:
    redaction.protect("canary-in-a-traceback")
    raw = io.BytesIO()
    stream = RedactingStream.around(io.TextIOWrapper(raw))
    print("ValueError: canary-in-a-traceback \ud800", file=stream)
    stream.flush()
    assert raw.getvalue() == f"ValueError: {MARK} \\ud800\n".encode()
