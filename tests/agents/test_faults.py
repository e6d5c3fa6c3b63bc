"""Faults are sorted by what helps, whatever a server calls them."""

from __future__ import annotations

import email.utils
import time

import pytest

from vibeserve_tui.agents.loop.faults import of_status, wait_asked_for

SORTED = {
    "overloaded": (529, "overloaded_error", "Overloaded", "again"),
    "a proxy's page": (502, "", "<html>Bad gateway</html>", "again"),
    "too early": (425, "", "", "again"),
    "in mid-stream": (200, "api_error", "Internal", "again"),
    "in mid-stream, of no kind": (200, "", "oops", "again"),
    "in mid-stream, for good": (200, "invalid_request_error", "no such field", "none"),
    "a rate": (429, "rate_limit_error", "too many tokens per minute", "again"),
    "no quota": (429, "insufficient_quota", "You exceeded your current quota", "operator"),
    "no money": (400, "invalid_request_error", "Your credit balance is too low to access the API", "operator"),
    "a bad key": (401, "authentication_error", "invalid x-api-key", "operator"),
    "no such model": (404, "not_found_error", "model: x", "operator"),
    "a bad request": (400, "invalid_request_error", "messages.1: bad", "none"),
    "too long, as Anthropic says": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000", "room"),
    "too long, as OpenAI says": (400, "context_length_exceeded", "Your input exceeds the context window", "room"),
    "too long, as llama.cpp says": (
        400,
        "exceed_context_size_error",
        "the request exceeds the available context size",
        "room",
    ),
    "too long, as vLLM says": (400, "BadRequestError", "This model's maximum context length is 4096 tokens", "room"),
    "too large": (413, "request_too_large", "", "room"),
    "no tools, as Ollama says": (
        400,
        "api_error",
        "registry.ollama.ai/library/gemma does not support tools",
        "operator",
    ),
    "no tools, as llama.cpp says": (500, "server_error", "tools param requires --jinja flag", "operator"),
}


@pytest.mark.parametrize(("status", "kind", "message", "remedy"), SORTED.values(), ids=SORTED)
def test_remedy(status: int, kind: str, message: str, remedy: str) -> None:
    fault = of_status(status, kind, message, {}, begun=status == 200)
    assert fault.remedy == remedy
    assert message in fault.why and (not kind or kind in fault.why)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "120"}, 0.12),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_how_long_a_server_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked_for(headers) == seconds


def test_a_time_to_wait_may_be_a_date() -> None:
    header = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert wait_asked_for({"retry-after": header}) == pytest.approx(100, abs=3)
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    assert wait_asked_for({"retry-after": past}) == 0.0
