"""What can go wrong with a turn, sorted by what helps: trying again, making room, somebody's help, or nothing.

Both SDKs report the same trouble in different ways (an overloaded server in mid-stream is a status of 200 to one and no
exception at all to the other); wires translate with the functions here, so that the loop sees one kind of fault.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Literal

Remedy = Literal["again", "room", "operator", "none"]
"""The operator helps where every other request would fail as well: with a key, a quota, a model's name."""

AGAIN = frozenset({408, 409, 425, 429})
NOT_WELCOME = frozenset({401, 402, 403, 404})
LASTING = frozenset(
    {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "invalid_prompt",
        "bio_policy",
    }
)
"""Kinds of in-stream errors, which have no status of their own, that trying again does not mend."""
UNPAID = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})
"""Kinds that come with a status of 429 and yet never go away by waiting."""
_NO_ROOM = re.compile(
    r"context_length_exceeded|prompt is too long|context (window|length|size)|maximum context|too many tokens"
)

_NO_TOOLS = re.compile(
    r"does not support tool|tools? (param|use|calling) .*(requires|not supported)|tools? (is|are) not supported"
)
"""Small servers refuse a request with tools as such, some with a status that looks as if waiting would help."""

MALFORMED = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""The SDKs build events without checking them: what a server left out or garbled fails only where it is used."""


class Fault(Exception):
    """A turn that came to nothing."""

    def __init__(
        self, why: str, remedy: Remedy, *, status: int = 0, after_s: float | None = None, begun: bool = False
    ) -> None:
        super().__init__(why)
        self.why = why
        self.remedy: Remedy = remedy
        self.status = status
        """Of HTTP; 0 where there is none."""
        self.after_s = after_s
        """How long the server asks us to wait."""
        self.begun = begun
        """The model may have worked on it, so that it may be billed."""


def of_status(status: int, kind: str, message: str, headers: Mapping[str, str], *, begun: bool) -> Fault:
    """The fault behind an error that a server sent; `kind` is its own word for it, or ""."""
    why = " ".join(filter(None, (str(status) if status != 200 else "", kind, message))).strip()[:500]
    if kind in UNPAID or status in NOT_WELCOME or "credit balance" in message:
        return Fault(why, "operator", status=status)
    if _NO_TOOLS.search(message.lower()):
        return Fault(f"this model cannot call tools: {why}", "operator", status=status)
    if status == 413 or (status in (200, 400, 422) and _NO_ROOM.search(f"{kind} {message}".lower())):
        return Fault(why, "room", status=status, begun=begun)
    if status in AGAIN or status >= 500 or (status == 200 and kind not in LASTING):
        return Fault(why, "again", status=status, after_s=wait_asked_for(headers), begun=begun)
    return Fault(why, "none", status=status, begun=begun)


def wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after`, which is a number or a date."""
    milliseconds, seconds = _number(headers.get("retry-after-ms")), _number(headers.get("retry-after"))
    if milliseconds is not None:
        return milliseconds / 1000
    if seconds is not None:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _number(text: str | None) -> float | None:
    """A finite, non-negative number, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
