"""The macOS tier from its launcher to its boxes, beside a stand-in for `sandbox-exec`: it was never run on a Mac.

The stand-in understands the profile's parameters and its port, and enforces them with what Linux has. So the wiring is
real (profile, command line, pods, kill trees, the trial that decides); what macOS makes of the profile is not shown.
"""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.execution.conftest import DAEMONS, marked, python, spec
from vibeserve_tui import doctor
from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import darwin_processes, namespaces, sandbox, seatbelt
from vibeserve_tui.execution.box import Listener
from vibeserve_tui.execution.ladder import SandboxReport, Tier, TierResult
from vibeserve_tui.execution.launcher import Launcher

ROOT = Path(__file__).parents[2]
ENFORCING = """#!{python} -ISB
import os, re, sys
sys.path.insert(0, {root!r})
from vibeserve_tui.execution import landlock, namespaces, seccomp, syscalls
from vibeserve_tui.execution.view import DEVICES
at = sys.argv.index("--")
profile, given = sys.argv[2], dict(word[2:].split("=", 1) for word in sys.argv[3:at])
hidden = [path for name, path in given.items() if name.startswith("HIDE_")]
paths = [(f"/dev/{{name}}", landlock.WRITE) for name in DEVICES] + [("/proc/cpuinfo", landlock.READ)]
for name, path in given.items():
    if name.startswith("READ_"):
        paths += landlock.readable_without(path, hidden)
    elif name.startswith("WRITE_"):
        paths.append((path, landlock.WRITE))
ports = {{int(port) for port in re.findall('"localhost:([0-9]+)"', profile)}}
namespaces.join(namespaces.PodNamespaces(*(os.open(f"/proc/{{{pid}}}/fd/{{fd}}", os.O_RDONLY) for fd in {fds})))
syscalls.drop_capabilities()
syscalls.forbid_new_privileges()
landlock.restrict(landlock.Rules(tuple(paths), tuple((port, landlock.BIND | landlock.CONNECT) for port in ports)))
syscalls.load_seccomp(seccomp.build(seccomp.Sockets.TCP, beside_host=True))
os.execvp(sys.argv[at + 1], sys.argv[at + 1:])
"""
LETS_ALL_THROUGH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
FAILS = "#!/bin/sh\necho 'sandbox-exec: line 3: unbound variable: iokit-open' >&2\nexit 65\n"
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(source: str) -> None:
        program = tmp_path / "sandbox-exec"
        program.write_text(source)
        program.chmod(0o755)
        monkeypatch.setattr(seatbelt, "PROGRAM", str(program))

    return put


@pytest.fixture
def enforcing(install: Install) -> Iterator[None]:
    """Its boxes share one network that leads nowhere, as rules for `localhost` alone would have it."""
    network = namespaces.open_pod()
    fds = (network.user, network.network)
    install(ENFORCING.format(python=sys.executable, root=str(ROOT), pid=_own_pid(), fds=fds))
    yield
    network.close()


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def refusal() -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        sandbox.probe((Tier.SEATBELT,))
    return caught.value


def test_it_is_believed_only_when_its_trial_was_refused_everything(install: Install) -> None:
    install(LETS_ALL_THROUGH)
    assert "a box reads a file that is not shown" in refusal().what
    install(FAILS)
    assert "unbound variable: iokit-open" in refusal().what


def test_without_the_program_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(seatbelt, "PROGRAM", str(tmp_path / "absent"))
    error = refusal()
    assert "No such file" in error.what
    assert "sandbox-exec is part of macOS" in error.fix
    assert error.exit_code == 3


@pytest.mark.usefixtures("enforcing")
async def test_a_box_reads_and_writes_what_it_was_given(tmp_path: Path, run_id: str) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "weights").write_text("weights\n")
    (tmp_path / "key").write_text("secret")
    (tmp_path / "work").mkdir()
    launcher = Launcher.start(run_id, tiers=(Tier.SEATBELT,))
    try:
        script = "cat ../given/weights; echo made > here; cat here; cat ../key"
        box = spec(("sh", "-c", script), tmp_path / "work", read_only=(tmp_path / "given",))
        done = await launcher.run(box, timeout_s=20)
    finally:
        await launcher.close()
    assert done.stdout == b"weights\nmade\n"
    assert b"Permission denied" in done.stderr
    assert (tmp_path / "work" / "here").read_text() == "made\n"


@pytest.mark.usefixtures("enforcing")
async def test_a_pods_boxes_meet_on_its_port_and_end_with_it(tmp_path: Path, run_id: str) -> None:
    serving = "import socket, sys\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nprint('up', flush=True)\ns.accept()[0].sendall(b'hello')"
    asking = "import socket, sys\nprint(socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5).recv(9))"
    launcher = Launcher.start(run_id, tiers=(Tier.SEATBELT,))
    try:
        pod = await launcher.open_pod()
        await pod.start("server", spec(python(serving, pod.port), tmp_path, log=tmp_path / "log", serves=True))
        await pod.start("daemons", spec(python(DAEMONS, 60), tmp_path, log=tmp_path / "daemons"))
        while not all("\n" in (tmp_path / name).read_text() for name in ("log", "daemons")):
            await asyncio.sleep(0.01)
        said = await pod.run("client", spec(python(asking, pod.port), tmp_path), timeout_s=20)
        await pod.close()
        left = len(marked(run_id))
    finally:
        await launcher.close()
    assert said.stdout == b"b'hello'\n", said.stderr
    assert left == 1, "the launcher alone"


def test_the_ladder_of_macos_has_this_step_alone_and_loads_without_a_mac() -> None:
    source = "import sys; sys.platform = 'darwin'; from vibeserve_tui.execution import launcher, sandbox; print(*sandbox.LADDER)"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "seatbelt\n", done.stderr


def test_doctor_says_that_it_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    report = SandboxReport(Tier.SEATBELT, (TierResult(Tier.SEATBELT, works=True, detail="", fix=""),))
    monkeypatch.setattr(doctor, "probe", lambda: report)
    (line,) = doctor._sandbox()
    assert "never run on a Mac by its authors" in line.observed


def test_libprocs_structures_have_the_sizes_of_its_headers() -> None:
    sizes = [
        ctypes.sizeof(kind)
        for kind in (darwin_processes._Basics, darwin_processes._Task, darwin_processes._Information)
    ]
    assert sizes == [136, 96, 232]


def test_listening_sockets_are_read_from_what_lsof_prints() -> None:
    said = "p501\nf3\nn127.0.0.1:8123\nf4\nn[::1]:8123\np502\nf3\nn*:9000\n"
    assert darwin_processes.parsed(said) == [
        (Listener(501, "tcp", 8123), "127.0.0.1"),
        (Listener(501, "tcp6", 8123), "[::1]"),
        (Listener(502, "tcp", 9000), "*"),
    ]
