"""Which tier is used, and that nothing runs when none holds."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import connection, ladder, trial
from vibeserve_tui.execution.sandbox import LADDER, Tier, probe

ROOT = Path(__file__).parents[2]

PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.sandbox import probe
try:
    report = probe()
except SandboxError as error:
    print(json.dumps({"what": error.what, "fix": error.fix, "code": error.exit_code}))
else:
    print(json.dumps({"tier": report.tier, "tried": [[one.tier, one.works, one.detail, one.fix] for one in report.tried]}))
"""


def probe_under(*wrapper: str) -> dict[str, object]:
    argv = [*wrapper, sys.executable, "-c", PROBE, str(ROOT)]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=60).stdout)


def test_every_tier_holds_on_this_machine():
    for tier in LADDER:
        assert probe((tier,)).tier is tier


def test_the_first_tier_that_holds_is_used():
    report = probe()

    assert report.tier is Tier.BWRAP
    assert [result.tier for result in report.tried] == [Tier.BWRAP]


def test_without_user_namespaces_the_ladder_ends_at_landlock_and_says_why():
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    found = probe_under("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")

    assert found["tier"] == "landlock"
    (bwrap, unshare, landlock) = found["tried"]
    assert (bwrap[1], unshare[1], landlock[1]) == (False, False, True)
    assert "sysctl user.max_user_namespaces" in bwrap[3]


def test_a_tier_that_fails_at_once_takes_none_behind_it_along(monkeypatch: pytest.MonkeyPatch):
    first, _, rest = connection._BOOT.partition("\n")
    broken = "from vibeserve_tui.execution import keeper; keeper._exec_bwrap = None"
    monkeypatch.setattr(connection, "_BOOT", f"{first}\n{broken}\n{rest}")
    for _ in range(5):
        report = probe()
        assert report.tier is Tier.UNSHARE
        assert "not callable" in report.tried[0].detail


def test_where_nothing_holds_nothing_runs():
    # A filter that makes the kernel look as if it had neither user namespaces nor Landlock.
    without_landlock = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
code = ctypes.create_string_buffer(bytes.fromhex({filter_without_landlock().hex()!r}))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program({len(filter_without_landlock()) // 8}, ctypes.addressof(code))), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    found = probe_under(
        "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", without_landlock
    )

    assert found["code"] == 3
    assert all(f"{tier}: " in str(found["what"]) for tier in LADDER)
    assert "sysctl" in str(found["fix"])


def filter_without_landlock() -> bytes:
    create_ruleset, enosys = 444, 0x50000 | 38
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, create_ruleset), (6, 0, 0, enosys), (6, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def test_no_isolation_only_when_named():
    assert Tier.NONE not in LADDER
    assert probe((Tier.NONE,)).tier is Tier.NONE
    with pytest.raises(SandboxError):
        probe(())


@pytest.mark.parametrize(
    ("output", "detail"),
    [
        ('{"escapes": ["reads a file that is not shown"], "failures": []}', "a box reads a file"),
        ('{"escapes": [], "failures": ["serve on loopback: refused"]}', "a box cannot serve on loopback"),
        ("bwrap: setting up uid map: Permission denied\n", "setting up uid map"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("", "gave no answer"),
    ],
)
def test_a_trial_is_passed_only_by_a_complete_answer_without_escapes(output: str, detail: str):
    result = trial._judge(Tier.BWRAP, output)

    assert not result.works
    assert detail in result.detail


def test_ubuntus_restriction_is_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    monkeypatch.setattr(ladder, "_SYSCTL", tmp_path)

    result = ladder.refusal(Tier.BWRAP, "bwrap: setting up uid map: Permission denied")

    assert "bwrap-userns-restrict" in result.fix
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in result.fix
