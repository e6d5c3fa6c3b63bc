"""A commit becomes a server, or a failure with a reason and the end of its log."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.execution import servers
from tests.execution.conftest import launched, left_over, python
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.candidate import Candidate, CandidateError, Failure, Served, Timeouts, build, serve
from vibeserve_tui.execution.ladder import LADDER, Tier
from vibeserve_tui.execution.launcher import Launcher

pytestmark = pytest.mark.asyncio(loop_scope="session")


# Nothing here depends on how a box is made: the other tiers' turn comes in the long run.
@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[Tier.BWRAP, *(pytest.param(tier, marks=pytest.mark.slow) for tier in LADDER[1:])],
    ids=str,
)
async def launcher(request: pytest.FixtureRequest) -> AsyncIterator[Launcher]:
    async with launched(request.param) as started:
        yield started


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    for name in ("checkout", "model", "build"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkout" / "serve.py").write_text(servers.GOOD)
    (tmp_path / "model" / "weights").write_text("w")
    return Candidate(
        commit="c0ffee",
        checkout=tmp_path / "checkout",
        command=("{python}", "serve.py"),
        model_dir=tmp_path / "model",
        build_dir=tmp_path / "build",
        log=tmp_path / "server.log",
        backend="cpu",
        env={"OMP_NUM_THREADS": "1", "PORT": "1", "MODEL_DIR": "/elsewhere"},
    )


def with_server(candidate: Candidate, source: str, **changes: object) -> Candidate:
    (candidate.checkout / "serve.py").write_text(source)
    return dataclasses.replace(candidate, **changes)


async def ask(served: Served, path: str) -> dict[str, str]:
    box = BoxSpec(python(servers.GET, served.host, served.port, path), Path("/usr"))
    result = await served.pod.run("client", box, timeout_s=20)
    return json.loads(result.stdout.decode().partition(" ")[2])


async def failure(launcher: Launcher, candidate: Candidate) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        async with serve(launcher, candidate):
            pass
    assert left_over(launcher) == []
    return caught.value


async def test_a_ready_server_is_served_and_gone_afterwards(launcher: Launcher, candidate: Candidate):
    async with serve(launcher, candidate) as served:
        assert served.health["commit"] == "c0ffee"
        assert served.ready_s > 0.2  # it said 503 until then
        assert (await served.usage()).processes == 1
        assert served.log_tail() == "starting"
        assert left_over(launcher) != []

    assert left_over(launcher) == []


async def test_the_environment_is_the_contract_and_nothing_else(
    launcher: Launcher, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_API_KEY", "canary")
    async with serve(launcher, candidate) as served:
        env = await ask(served, "/env")

    assert set(env) - {"PWD"} == {
        *("PATH", "HOME", "LANG", "TMPDIR", "BUILD_DIR", "MODEL_DIR", "HOST", "PORT", "OMP_NUM_THREADS"),
        *("VIBESERVE_RUN", "VIBESERVE_COMMIT", "VIBESERVE_BACKEND", "VIBESERVE_CORES"),
    }
    assert env["MODEL_DIR"] == str(candidate.model_dir)
    assert env["PORT"] == str(served.port)


async def test_it_is_killed_when_the_caller_fails(launcher: Launcher, candidate: Candidate):
    with pytest.raises(RuntimeError):
        async with serve(launcher, candidate):
            raise RuntimeError

    assert left_over(launcher) == []


async def test_it_is_killed_when_the_caller_is_cancelled_amid_the_start(launcher: Launcher, candidate: Candidate):
    async def start() -> None:
        async with serve(launcher, with_server(candidate, servers.NOT_LISTENING)):
            pass

    task = asyncio.create_task(start())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert left_over(launcher) == []


async def test_suspend_and_resume_reach_the_server(launcher: Launcher, candidate: Candidate):
    async with serve(launcher, candidate) as served:
        await served.suspend()
        await served.resume()

        assert (await ask(served, "/health"))["status"] == "ready"


async def test_two_candidates_are_served_at_once(launcher: Launcher, candidate: Candidate):
    other = dataclasses.replace(candidate, commit="deed")
    async with serve(launcher, candidate) as one, serve(launcher, other) as two:
        assert [(await ask(served, "/health"))["commit"] for served in (one, two)] == ["c0ffee", "deed"]


async def test_an_exit_is_told_with_its_code_and_log(launcher: Launcher, candidate: Candidate):
    failed = await failure(launcher, with_server(candidate, servers.EXITS))

    assert (failed.reason, failed.log_tail) == (Failure.EXITED, "about to fail")
    assert "exit code 3" in str(failed)


async def test_a_port_that_somebody_else_took_is_drawn_again_where_the_ports_are_the_hosts(
    launcher: Launcher, candidate: Candidate
):
    taken = (
        "import os, pathlib, sys\nstarts = pathlib.Path(os.environ['BUILD_DIR'], 'starts')\n"
        "with starts.open('a') as file: file.write(os.environ['PORT'] + '\\n')\n"
        "if len(starts.read_text().split()) < 3: sys.exit('OSError: [Errno 98] Address already in use')\n"
    )
    unlucky = with_server(candidate, taken + servers.GOOD)
    if launcher.report.tier.is_beside_host:
        async with serve(launcher, unlucky) as served:
            assert (await ask(served, "/health"))["status"] == "ready"
        tried = (candidate.build_dir / "starts").read_text().split()
        assert len(set(tried)) == 3
    else:
        assert (await failure(launcher, unlucky)).reason is Failure.EXITED
        assert len((candidate.build_dir / "starts").read_text().split()) == 1


async def test_a_missing_program_is_an_exit(launcher: Launcher, candidate: Candidate):
    failed = await failure(launcher, dataclasses.replace(candidate, command=("no-such-program",)))

    assert failed.reason is Failure.EXITED
    assert "no-such-program" in failed.log_tail


SLOW_STARTS = [
    (servers.NOT_LISTENING, Failure.NOT_LISTENING),
    (servers.SILENT, Failure.NO_ANSWER),
    (servers.DRIPPING, Failure.NO_ANSWER),
    (servers.CONTINUING, Failure.NO_ANSWER),
    (servers.ANSWERS.format(status=500, body=b"{}"), Failure.NO_HEALTH),
    (servers.ANSWERS.format(status=200, body=b"ready"), Failure.BAD_HEALTH),
    (servers.ANSWERS.format(status=200, body=b"[" * 60_000), Failure.BAD_HEALTH),
    (servers.ANSWERS.format(status=200, body=b"[1]"), Failure.BAD_HEALTH),
]


async def test_a_server_that_never_gets_ready_is_told_apart(launcher: Launcher, candidate: Candidate, tmp_path: Path):
    async def one(number: int, source: str) -> CandidateError:
        checkout = tmp_path / f"checkout-{number}"
        checkout.mkdir()
        timeouts = Timeouts(ready_s=2.5)
        return await failure_of(
            with_server(dataclasses.replace(candidate, checkout=checkout), source, timeouts=timeouts)
        )

    async def failure_of(failing: Candidate) -> CandidateError:
        with pytest.raises(CandidateError) as caught:
            async with serve(launcher, failing):
                pass
        return caught.value

    failures = await asyncio.gather(*(one(number, source) for number, (source, _) in enumerate(SLOW_STARTS)))

    assert [failed.reason for failed in failures] == [reason for _, reason in SLOW_STARTS]
    assert left_over(launcher) == []


async def test_a_server_over_its_memory_is_told_as_killed(launcher: Launcher, candidate: Candidate):
    failed = await failure(launcher, with_server(candidate, servers.GREEDY, limits=Limits(memory_mib=100)))

    assert failed.reason is Failure.KILLED
    assert "memory" in str(failed)


async def test_the_log_tail_is_the_last_200_lines(launcher: Launcher, candidate: Candidate):
    source = "import sys\nfor n in range(5000): print('line', n, flush=True)\nsys.stdout.buffer.write(b'\\xff\\n')\nsys.exit(1)"
    failed = await failure(launcher, with_server(candidate, source))

    lines = failed.log_tail.splitlines()
    assert len(lines) == 200
    assert lines[-2:] == ["line 4999", "\ufffd"]


async def test_the_build_writes_its_folder_and_the_server_finds_it(launcher: Launcher, candidate: Candidate):
    building = dataclasses.replace(
        candidate, build_command=("sh", "-c", "echo built > $BUILD_DIR/kernel; ! echo x > planted")
    )
    result = await build(launcher, building)

    assert result is not None
    assert result.wall_s > 0
    assert (candidate.build_dir / "kernel").read_text() == "built\n"
    assert not (candidate.checkout / "planted").exists()


async def test_nothing_is_built_without_a_build_command(launcher: Launcher, candidate: Candidate):
    assert await build(launcher, candidate) is None


@pytest.mark.parametrize(
    ("command", "told"), [("echo no compiler; exit 4", "exit code 4"), ("echo no compiler; sleep 60", "timeout")]
)
async def test_a_failed_build_is_told_with_its_log(launcher: Launcher, candidate: Candidate, command: str, told: str):
    failing = dataclasses.replace(candidate, build_command=("sh", "-c", command), timeouts=Timeouts(build_s=0.5))
    with pytest.raises(CandidateError, match=told) as caught:
        await build(launcher, failing)

    assert (caught.value.reason, caught.value.log_tail) == (Failure.BUILD_FAILED, "no compiler")


async def test_the_placeholder_is_this_interpreter(launcher: Launcher, candidate: Candidate):
    async with serve(launcher, candidate) as served:
        (server,) = await served.pod.processes("server")

    assert server.command.startswith(sys.executable)
