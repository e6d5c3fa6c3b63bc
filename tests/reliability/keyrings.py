"""A key where desktops keep them: in files of a home, and with services that hand it to whoever connects."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

CANARY = "canary-7f3a9c5e1b"
"""Looks like no key at all: only its exact value can be known."""

FILES = (".local/share/python_keyring/keyring_pass.cfg", ".local/share/keyrings/login.keyring", ".config/kwalletrc")
SERVICES = ("run/bus", "run/ssh", "run/wallet")
"""The session bus, behind which the Secret Service is; an agent; a wallet. The real ones ask for more than a connection."""

ASK = """
import socket
def handed_out(address):
    with socket.socket(socket.AF_UNIX) as service:
        service.settimeout(5)
        service.connect(address.replace("@", chr(0)))
        return service.recv(100).decode()
"""


@contextlib.contextmanager
def desktop(home: Path) -> Iterator[list[str]]:
    """Yields where the services are; `@` begins a name of the kernel's."""
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"[vibeserve]\nkey = {CANARY}\n")
    (home / "run").mkdir()
    addresses = [*(str(home / name) for name in SERVICES), f"@{home}/bus"]
    with contextlib.ExitStack() as open_ones:
        for address in addresses:
            listener = open_ones.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address.replace("@", "\0"))
            listener.listen()
            thread = threading.Thread(target=_hand_out, args=(listener,))
            thread.start()
            open_ones.callback(thread.join)
            open_ones.callback(listener.shutdown, socket.SHUT_RDWR)
        yield addresses


def _hand_out(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was shut
        while True:
            with listener.accept()[0] as client:
                client.sendall(CANARY.encode())
