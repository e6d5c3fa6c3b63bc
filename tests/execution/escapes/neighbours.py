"""What other boxes have: those of another pod are as far away as the host, whatever name or number they are called by."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from .kit import Refused, attempt, syscall, text
from .network import connect
from .processes import is_host

GREETING = b"the neighbour"


def neighbour(what: str) -> str:
    return os.environ[f"NEIGHBOUR_{what}"]


@attempt()
def connect_to_another_pods_server() -> None:
    with socket.create_connection(("127.0.0.1", int(neighbour("PORT"))), timeout=2) as client:
        client.settimeout(2)
        if client.recv(64) != GREETING:
            raise Refused("somebody else listens on that port here")


@attempt()
def connect_to_another_boxs_abstract_socket() -> None:
    connect(socket.AF_UNIX, f"\0{text('token')}-neighbour")


@attempt()
def read_another_boxs_scratch_space() -> None:
    Path(neighbour("SCRATCH"), "note").read_text()


@attempt()
def read_another_boxs_shared_memory() -> None:
    Path("/dev", "shm", f"{text('token')}-neighbour").read_text()


@attempt()
def read_a_note_through_another_boxs_root() -> None:
    Path(f"/proc/{neighbour('PID')}/root{neighbour('SCRATCH')}/note").read_text()


@attempt()
def stop_another_box() -> None:
    os.kill(int(neighbour("PID")), 0)
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt()
def join_another_boxs_network() -> None:
    """By a process descriptor, which needs no file of /proc."""
    other = os.pidfd_open(int(neighbour("PID")))
    syscall(308, 268, other, 0x40000000)


@attempt()
def throw_another_box_out_of_memory() -> None:
    other = os.pidfd_open(int(neighbour("PID")))
    syscall(448, 448, other, 0)  # process_mrelease
    signal.pidfd_send_signal(other, 0)
