"""Sockets that lead out of the box."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from .kit import Refused, attempt, number, text


def connect(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


@attempt(outside=True)
def connect_to_the_hosts_loopback() -> None:
    connect(socket.AF_INET, ("127.0.0.1", number("host_port")))


@attempt(outside=True)
def connect_to_an_abstract_socket() -> None:
    connect(socket.AF_UNIX, "\0" + text("token"))


@attempt(outside=True)
def connect_to_a_socket_in_the_hosts_files() -> None:
    connect(socket.AF_UNIX, text("unix_socket"))


@attempt()
def connect_to_the_internet() -> None:
    connect(socket.AF_INET, ("192.0.2.1", 443))


@attempt()
def connect_to_the_internet_by_ipv6() -> None:
    connect(socket.AF_INET6, ("2001:db8::1", 443))


@attempt()
def send_a_datagram() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))


@attempt()
def send_a_datagram_to_the_hosts_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect(("127.0.0.1", number("host_datagrams")))
        sender.send(b"x")
        sender.send(b"x")  # an answer "nobody there" to the first one arrives here


@attempt(outside=True)
def connect_by_multipath_tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        client.settimeout(2)
        client.connect(("127.0.0.1", number("host_port")))


@attempt(outside=True)
def send_by_fast_open() -> None:
    """Connects without a call of connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", 0x20000000, ("127.0.0.1", number("host_port")))


@attempt()
def listen_for_the_local_network() -> None:
    with socket.socket() as server:
        server.bind(("", number("free_port")))
        server.listen()
        if Path("/proc/self/ns/net").exists() and str(Path("/proc/self/ns/net").readlink()) != text("net_namespace"):
            raise Refused("only in its own network")


@attempt()
def listen_on_any_port_without_binding() -> None:
    with socket.socket() as server:
        server.listen()
        if Path("/proc/self/ns/net").exists() and str(Path("/proc/self/ns/net").readlink()) != text("net_namespace"):
            raise Refused("only in its own network")


@attempt(outside=True)
def open_a_vsock() -> None:
    socket.socket(40, socket.SOCK_STREAM).close()


@attempt(outside=True)
def open_a_packet_socket() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attempt()
def open_the_kernels_cryptography() -> None:
    socket.socket(38, socket.SOCK_SEQPACKET).close()


@attempt(outside=True)
def open_a_raw_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


@attempt(outside=True)
def open_generic_netlink() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16).close()


@attempt(outside=True)
def connect_to_the_hosts_loopback_by_ipv6() -> None:
    connect(socket.AF_INET6, ("::1", number("host_port_6")))


@attempt()
def connect_to_the_internet_on_its_own_port() -> None:
    """A rule for a port that says nothing about the address would let this through."""
    try:
        connect(socket.AF_INET, ("192.0.2.1", int(os.environ["PORT"])))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENETUNREACH):
            raise


@attempt()
def resolve_a_name() -> None:
    socket.getaddrinfo("example.com", 443)


def send_through_a_pair(address: str) -> None:
    """A datagram socket of a pair needs no call that makes sockets, and sends to others than its peer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"x", address)


@attempt(outside=True)
def send_to_a_socket_in_the_hosts_files_through_a_pair() -> None:
    send_through_a_pair(text("unix_datagrams"))


@attempt(outside=True)
def send_to_an_abstract_socket_through_a_pair() -> None:
    send_through_a_pair("\0" + text("token") + "-datagrams")


@attempt()
def open_a_rare_kind_of_socket() -> None:
    """X.25, DECnet, RDS, CAN, TIPC, Bluetooth, phonet, XDP, SMC: large, old, seldom looked at."""
    for family in (9, 12, 21, 29, 30, 31, 35, 43, 44):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            return
    raise Refused("none")


@attempt()
def change_the_loopback() -> None:
    with socket.socket() as handle:
        request = fcntl.ioctl(handle, 0x8913, struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(handle, 0x8914, request)
