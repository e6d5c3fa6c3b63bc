"""Landlock: let this process, and all it will start, reach only the listed files and TCP ports.

Works without namespaces and without privileges. It denies opening, writing, renaming, linking,
TCP binds and connects, and signals to processes outside; it does not deny `stat`, nor `chmod` and
`utime` on the caller's own files, nor anything that is not a file or TCP (the seccomp filter's job).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from vibeserve_tui.execution import syscalls

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
READ = _EXECUTE | _READ_FILE | _READ_DIR
LIST = _READ_DIR
WRITE = 0xFFFF
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
BIND, CONNECT = 1, 2
"""A port that may be connected to is so at any address."""
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3
# TCP rules came with version 4, scopes with 6. A kernel without both cannot hold a box in this
# way: the ruleset below is refused there, and so is the tier.
_ALL_FILE_RIGHTS = 0xFFFF


Ports = tuple[tuple[int, int], ...]
"""Ports of TCP with their rights; every other one is closed."""


@dataclass(frozen=True, slots=True)
class Rules:
    paths: tuple[tuple[str, int], ...]
    """With their rights."""
    ports: Ports


def restrict(rules: Rules) -> None:
    """Apply for good; needs `forbid_new_privileges` first."""
    ruleset = _create()
    for path, rights in rules.paths:
        _allow_path(ruleset, path, rights)
    for port, rights in rules.ports:
        rule = struct.pack("QQ", rights, port)
        syscalls.syscall("landlock port rule", _ADD_RULE, ruleset, _RULE_PORT, ctypes.c_char_p(rule), 0)
    syscalls.syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _create() -> int:
    attributes = struct.pack("QQQ", _ALL_FILE_RIGHTS, BIND | CONNECT, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
    return syscalls.syscall(
        "landlock_create_ruleset",
        _CREATE_RULESET,
        ctypes.c_char_p(attributes),
        len(attributes),
        0,
    )


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _FILE_RIGHTS  # the kernel refuses a rule that grants directory rights on a file
        rule = struct.pack("=Qi", rights, handle)
        syscalls.syscall(f"landlock rule {path}", _ADD_RULE, ruleset, _RULE_PATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(handle)


def readable_without(path: str, hidden: Iterable[str]) -> list[tuple[str, int]]:
    """Rules that make `path` readable except for hidden folders inside it.

    Rules only ever add, so the folders on the way to a hidden one are listed (names show) and all
    their other members are allowed one by one.
    """
    inside = [one for one in hidden if one == path or one.startswith(path + "/")]
    if path in inside:
        return []
    if not inside:
        return [(path, READ)]
    rules = [(path, LIST)]
    for entry in os.scandir(path):
        if not entry.is_symlink():  # a link needs no rule, and its target must not gain one
            rules += readable_without(entry.path, inside)
    return rules
