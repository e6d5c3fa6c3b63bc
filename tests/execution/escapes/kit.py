"""What every attempt has: the list that it is entered into, the task that says what there is to take, system calls."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable

X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
task: dict[str, str | int] = {}
attempts: dict[str, Callable[[], object]] = {}
harmless: set[str] = set()
"""May be tried outside of a box too, where they must succeed."""


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


inherited = [descriptor for descriptor in range(3, 4096) if _is_open(descriptor)]
"""Before any attempt opened one of its own."""


class Refused(OSError):
    pass


def attempt(*, outside: bool = False) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def register(function: Callable[[], object]) -> Callable[[], object]:
        name = function.__name__
        attempts[name] = function
        if outside:
            harmless.add(name)
        return function

    return register


def syscall(x86: int, arm: int, *arguments: object) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return checked(libc.syscall(ctypes.c_long(x86 if X86 else arm), *words))


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def text(name: str) -> str:
    value = task[name]
    assert isinstance(value, str)
    return value


def number(name: str) -> int:
    value = task[name]
    assert isinstance(value, int)
    return value
