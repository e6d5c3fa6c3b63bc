"""How long we are patient with a server, and which failures happened before it heard anything of us."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

CONNECT_S = 5.0
WRITE_S = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds, of one turn and of the waits between tries."""

    silence_s: float = 120.0
    """Without a byte; a server that thinks sends pings."""
    turn_s: float = 600.0
    first_wait_s: float = 1.0
    """Doubled with each try; the wait itself is drawn from 0 up to it, so that many clients do not come back at once."""
    most_wait_s: float = 60.0
    longest_wait_s: float = 900.0
    """A server that asks for more than this is taken for gone until somebody decides."""

    @property
    def timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.silence_s, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S)


def never_sent(error: BaseException) -> bool:
    """Did the request not even reach the server, so that nobody can bill it?"""
    cause = error if isinstance(error, httpx2.TransportError) else error.__cause__
    return isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
