"""The sandbox of macOS: a profile for `sandbox-exec` that says what `view.py` says for Linux.

Written from published profiles and never run on a Mac by its authors; `doctor` says so there. Everything is denied that
is not named: a home folder is readable only where the box was given it. Like every tier it is used only where its trial
was passed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.view import Bind, Empty, Interpreter, view_of

PROGRAM = "/usr/bin/sandbox-exec"

_BASE = """\
(version 1)
(deny default)

; processes: children inherit all of this, nobody outside can be signalled or looked into
(allow process-exec)
(allow process-fork)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(deny mach-priv-task-port)

; the system as it is, without anything of a user
(allow file-read-metadata)
(allow file-read*
  (subpath "/usr")
  (subpath "/bin")
  (subpath "/sbin")
  (subpath "/System")
  (subpath "/Library/Apple")
  (subpath "/Library/Developer/CommandLineTools")
  (subpath "/private/etc/ssl")
  (subpath "/private/var/db/dyld")
  (subpath "/private/var/db/timezone")
  (literal "/private/etc/localtime")
  (literal "/"))
(allow file-read* file-write-data file-ioctl
  (literal "/dev/null")
  (literal "/dev/zero")
  (literal "/dev/tty")
  (literal "/dev/dtracehelper"))
(allow file-read* (literal "/dev/random") (literal "/dev/urandom"))

; what numeric libraries ask for: sizes of caches and pools, semaphores, the registry of OpenMP
(allow sysctl-read)
(allow ipc-posix-sem)
(allow ipc-posix-shm-read* ipc-posix-shm-write-create ipc-posix-shm-write-unlink ipc-posix-shm-write-data
  (ipc-posix-name-regex #"^/__KMP_REGISTERED_LIB_[0-9]+$"))
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))
"""

_METAL = """\

; the GPU: Metal's compiler and the device's own user clients
(allow mach-lookup
  (global-name "com.apple.MTLCompilerService")
  (global-name "com.apple.gpumemd.source"))
(allow iokit-open
  (iokit-user-client-class "AGXDeviceUserClient")
  (iokit-user-client-class "AGXCommandQueue")
  (iokit-user-client-class "AGXSharedUserClient")
  (iokit-user-client-class "IOSurfaceRootUserClient"))
(allow iokit-get-properties)
(allow file-read* (subpath "/Library/GPUBundles"))
"""


@dataclass(frozen=True, slots=True)
class Box:
    """What a box may touch; paths are absolute and without links."""

    read_only: Sequence[str] = ()
    hidden: Sequence[str] = ()
    """Inside of what may be read, and not to be."""
    writable: Sequence[str] = ()
    scratch: str = ""
    """Its own folder for HOME and TMPDIR: there are no private mounts here."""
    ports: Sequence[int] = ()
    """Ports of the loopback that may be bound and connected to."""


def box_of(spec: BoxSpec, interpreter: Interpreter, scratch: str, port: int | None) -> Box:
    """What the spec shows, beside the system that every profile shows; `port` is the pod's, None without one."""
    entries = view_of(spec, interpreter)
    given = [entry for entry in entries if isinstance(entry, Bind) and not entry.device]
    shown = {entry.path for entry in given}
    hidden = [entry.path for entry in entries if isinstance(entry, Empty) and not entry.writable]
    return Box(
        read_only=[_resolved(entry.path) for entry in given if not entry.writable],
        hidden=[_resolved(path) for path in hidden if path not in shown],  # what the spec names itself is never hidden
        writable=[_resolved(entry.path) for entry in given if entry.writable],
        scratch=_resolved(scratch),
        ports=() if port is None else (port,),
    )


def profile(box: Box) -> str:
    """The profile's text. Paths are parameters, so that none of their characters can be taken for a rule."""
    parts = [_BASE]
    if box.read_only:
        parts.append("\n; what the box was given to read\n" + _rule("allow file-read*", "READ", len(box.read_only)))
    if box.hidden:
        parts.append("\n; but not this part of it\n" + _rule("deny file-read*", "HIDE", len(box.hidden)))
    if count := len(_writable(box)):
        parts.append("\n; what it may write; a folder itself can be neither removed nor replaced\n")
        parts.append(_rule("allow file-read* file-write*", "WRITE", count))
        parts.append("".join(f'(deny file-write-unlink (literal (param "WRITE_{n}")))\n' for n in range(count)))
    return "".join([*parts, _METAL, "\n", _network(box.ports)])


def command(box: Box, argv: Sequence[str], program: str = PROGRAM) -> list[str]:
    """The whole command line; the environment is the caller's to build."""
    given = [f"-D{name}={path}" for name, path in parameters(box).items()]
    return [program, "-p", profile(box), *given, "--", *argv]


def parameters(box: Box) -> Mapping[str, str]:
    """Raises ValueError for a path that is not absolute or climbs: it would not mean what it says."""
    named = {f"READ_{n}": path for n, path in enumerate(box.read_only)}
    named |= {f"HIDE_{n}": path for n, path in enumerate(box.hidden)}
    named |= {f"WRITE_{n}": path for n, path in enumerate(_writable(box))}
    for path in named.values():
        if not PurePath(path).is_absolute() or ".." in PurePath(path).parts:
            raise ValueError(f"{path} is not an absolute path without detours")
    return named


def _resolved(path: str) -> str:
    """Rules are matched against paths without links, and /tmp and /var are links on macOS."""
    return os.path.realpath(path)


def _writable(box: Box) -> list[str]:
    return [*box.writable, *([box.scratch] if box.scratch else [])]


def _rule(decision: str, parameter: str, count: int) -> str:
    paths: Iterable[str] = (f'\n  (subpath (param "{parameter}_{n}"))' for n in range(count))
    return f"({decision}{''.join(paths)})\n"


def _network(ports: Sequence[int]) -> str:
    rules = [
        f'(allow network-bind network-inbound (local ip "localhost:{port}"))\n'
        f'(allow network-outbound (remote ip "localhost:{port}"))\n'
        for port in ports
    ]
    return "; the network: nothing" + (" but these ports of the loopback\n" if rules else "\n") + "".join(rules)
