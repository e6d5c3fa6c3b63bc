"""From a fork of the launcher to the boxed command: what happens between fork and exec.

    tier        processes                            the second one is the box's init
    bwrap       bwrap ── bwrap (pid 1) ── command
    unshare     keeper ── keeper (pid 1) ── command
    landlock    keeper ── command                    here the keeper itself: orphans come to it
    none        keeper ── command                    likewise
    seatbelt    keeper ── sandbox-exec, then command likewise, but orphans go to the system's first process

Keepers are forks of the single-threaded launcher. They report on a pipe, in bubblewrap's own JSON
lines: `child-pid` is the init, `exit-code` comes once the command ran, `error` when it never could.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from vibeserve_tui.execution import bwrap, landlock, namespaces, process_table, seccomp, syscalls
from vibeserve_tui.execution.box_plan import BoxPlan
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.view import DEVICES, Bind

_OOM_SCORE = 500  # the kernel ends a box before the engine, and before most of the user's programs
_SETUP_FAILED, _NOT_EXECUTABLE, _NOT_FOUND, _KILLED_BY_SIGNAL = 125, 126, 127, 128
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Keeper:
    pid: int
    status_fd: int
    """Read end of the JSON lines; its end of file says that no keeper is left."""


def start(plan: BoxPlan) -> Keeper:
    program = b"" if plan.tier is Tier.SEATBELT else seccomp.build(plan.sockets, beside_host=plan.rules is not None)
    launcher = os.getpid()
    status, reports = os.pipe()
    pid = os.fork()
    if pid != 0:
        os.close(reports)
        return Keeper(pid, status)
    try:
        _settle(plan, launcher, reports)
        match plan.tier:
            case Tier.BWRAP:
                _exec_bwrap(plan, program, reports)
            case Tier.UNSHARE:
                _keep_namespaces(plan, program, reports)
            case Tier.LANDLOCK | Tier.SEATBELT | Tier.NONE:
                _keep_tree(plan, program, reports)
    except Exception as error:  # noqa: BLE001 - whatever it is: nobody else can tell
        _report(reports, {"error": str(error)})
    finally:  # whatever happens, a fork must never run on as a second launcher
        os._exit(_SETUP_FAILED)


def _settle(plan: BoxPlan, launcher: int, reports: int) -> None:
    """What all tiers share: no inherited signals or files, limits, cores, the pod."""
    signal.set_wakeup_fd(-1)
    for number in (*_LAUNCHER_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        # The launcher is not dumpable; an ordinary user could not open its own files in /proc.
        syscalls.set_dumpable(True)
    for target, source in enumerate(plan.stdio):
        os.dup2(source, target)
    pod = (plan.pod.user, plan.pod.network) if plan.pod else ()
    _close_all_but(0, 1, 2, reports, *pod)
    if plan.pod is not None:
        namespaces.join(plan.pod)
        plan.pod.close()
    if plan.tier is Tier.BWRAP and os.geteuid() == 0:
        _protect_devices(plan)
    if sys.platform == "linux":
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(_OOM_SCORE))
        if plan.cores is not None:
            os.sched_setaffinity(0, plan.cores)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, plan.limits.file_mib * _MIB)
    # The kernel counts all of the user's tasks; those of the whole machine are an upper bound.
    _lower(resource.RLIMIT_NPROC, process_table.count_tasks() + plan.limits.tasks)
    # After the credentials changed: joining a namespace resets the death signal.
    _die_with(launcher)


def _protect_devices(plan: BoxPlan) -> None:
    """They are root's own, and bubblewrap shows them as they are: a box of root could close /dev/null to everybody."""
    if plan.pod is None:  # there we have the right already
        namespaces.enter_new(0)
    given = [entry.path for entry in plan.view if isinstance(entry, Bind) and entry.device]
    namespaces.protect_devices([*(f"/dev/{name}" for name in DEVICES), *given])


_LAUNCHER_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _exec_bwrap(plan: BoxPlan, program: bytes, reports: int) -> NoReturn:
    path = bwrap.find()
    if path is None:
        raise FileNotFoundError("bwrap is not installed")
    seccomp_fd = _in_memory("seccomp", program)
    options = bwrap.arguments(plan.view, cwd=plan.cwd, own_network=plan.pod is None, seccomp_fd=seccomp_fd)
    args_fd = _in_memory("arguments", options)
    for descriptor in (seccomp_fd, args_fd, reports):
        os.set_inheritable(descriptor, True)
    argv = [path, "--args", str(args_fd), "--json-status-fd", str(reports), "--", *plan.argv]
    os.execve(path, argv, dict(plan.env))  # noqa: S606 - the shell would be one more thing to trust


def _keep_namespaces(plan: BoxPlan, program: bytes, reports: int) -> NoReturn:
    network = syscalls.CLONE_NEWNET if plan.pod is None else 0
    namespaces.enter_new(namespaces.BOX_NAMESPACES | network)
    if plan.pod is None:
        namespaces.raise_loopback()
    init = os.fork()
    if init == 0:
        syscalls.die_with_parent()
        namespaces.forbid_user_namespaces()
        namespaces.build_root(plan.view)
        syscalls.drop_capabilities()
        command = _fork_command(plan, lambda: _confine(program), reports)
        _report(reports, {"exit-code": _reap_until(command)})
        os._exit(0)
    _release_output()
    _report(reports, {"child-pid": init})
    status = _reap_until(init)
    if status > _KILLED_BY_SIGNAL:  # by somebody else: the init itself could not report
        _report(reports, {"exit-code": status})
    os._exit(0)


def _keep_tree(plan: BoxPlan, program: bytes, reports: int) -> NoReturn:
    def confine() -> None:
        if plan.rules is not None:
            syscalls.drop_capabilities()
            _confine(program, plan.rules)

    if sys.platform == "linux":
        syscalls.become_subreaper()
    command = _fork_command(plan, confine, reports)
    _report(reports, {"child-pid": os.getpid()})
    status = _reap_until(command)
    # Without a pid namespace, what the command left behind is ended by hand.
    process_table.kill_descendants(os.getpid())
    _report(reports, {"exit-code": status})
    os._exit(0)


def _confine(program: bytes, rules: landlock.Rules | None = None) -> None:
    """Nothing of this can be undone by the process or by any that it starts."""
    syscalls.forbid_new_privileges()
    if rules is not None:
        landlock.restrict(rules)
    syscalls.load_seccomp(program)


def _fork_command(plan: BoxPlan, confine: Callable[[], None], reports: int) -> int:
    """From here on the keeper lives beside the command, which must not look into it."""
    if sys.platform == "linux":
        syscalls.set_dumpable(False)  # the command's exec makes it dumpable again
    keeper = os.getpid()
    command = os.fork()
    if command != 0:
        _release_output()
        return command
    try:
        os.setsid()
        os.chdir(plan.cwd)
        confine()
        _die_with(keeper)
        _exec(plan)
    except OSError as error:
        _report(reports, {"error": str(error)})
    finally:
        os._exit(_SETUP_FAILED)


def _exec(plan: BoxPlan) -> NoReturn:
    """A command that is missing is the command's failure, not the box's: answered as a shell does."""
    try:
        os.execvpe(plan.argv[0], plan.argv, dict(plan.env))  # noqa: S606 - as above
    except OSError as error:
        sys.stderr.write(f"{plan.argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def _die_with(parent: int) -> None:
    """Where the kernel knows no such thing, the launcher's last sweep has to do."""
    if sys.platform != "linux":
        return
    syscalls.die_with_parent()
    if os.getppid() not in (parent, 0):  # 0: the parent is outside this pid namespace
        os._exit(_SETUP_FAILED)  # it ended before the signal was armed


def _reap_until(child: int) -> int:
    """Collect every process that ends here, orphans too, until `child` does; its exit status as a shell has it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _KILLED_BY_SIGNAL - code


def _release_output() -> None:
    """A keeper's copies would delay the end of the command's output."""
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def _close_all_but(*kept: int) -> None:
    for descriptor in [
        int(entry.name) for entry in os.scandir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    ]:
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone already
                os.close(descriptor)


def _lower(limit: int, value: int) -> None:
    """Both marks, as far as the hard one allows: what was lowered cannot be raised again."""
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _in_memory(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _report(reports: int, message: Mapping[str, object]) -> None:
    os.write(reports, json.dumps(message).encode() + b"\n")
