"""What processes of one user share by System V and POSIX names: numbers that anybody can guess."""

from __future__ import annotations

import ctypes
import struct

from .kit import attempt, number, syscall, text

STATE, REMOVE, SET_VALUE = 2, 0, 16
NO_WAIT = 0o4000
buffer = ctypes.create_string_buffer(4096)


@attempt(outside=True)
def attach_the_users_shared_memory() -> None:
    syscall(30, 196, number("shared_memory"), 0, 0o10000)


@attempt(outside=True)
def look_at_the_users_shared_memory() -> None:
    syscall(31, 195, number("shared_memory"), STATE, buffer)


@attempt(outside=True)
def look_at_the_users_semaphores() -> None:
    syscall(66, 191, number("semaphores"), 0, STATE, buffer)


@attempt()
def change_the_users_semaphores() -> None:
    syscall(66, 191, number("semaphores"), 0, SET_VALUE, 1)


@attempt()
def take_the_users_semaphores() -> None:
    syscall(65, 193, number("semaphores"), ctypes.c_char_p(struct.pack("Hhh", 0, 1, NO_WAIT)), 1)


@attempt()
def read_the_users_messages() -> None:
    syscall(70, 188, number("messages"), buffer, 1024, 0, NO_WAIT)


@attempt()
def send_the_user_a_message() -> None:
    syscall(69, 189, number("messages"), ctypes.c_char_p(struct.pack("l4s", 1, b"mine")), 4, NO_WAIT)


@attempt()
def remove_the_users_shared_memory() -> None:
    syscall(31, 195, number("shared_memory"), REMOVE, 0)


@attempt()
def remove_the_users_messages() -> None:
    syscall(71, 187, number("messages"), REMOVE, 0)


@attempt()
def remove_the_users_semaphores() -> None:
    syscall(66, 191, number("semaphores"), 0, REMOVE, 0)


@attempt()
def remove_the_users_queue() -> None:
    syscall(241, 181, ctypes.c_char_p(text("token").encode()))
