"""bash and grep in real boxes: what they reach, what they do not, and that they end."""

from __future__ import annotations

import pytest

from tests.agents.toolbox.bench import Bench
from vibeserve_tui.agents.toolbox.leftovers import remove_caches

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_command_runs_in_the_workspace_with_both_of_its_outputs(bench: Bench) -> None:
    done = await bench.call("bash", command="pwd; echo oops >&2; exit 3")
    assert done.startswith(f"{bench.places.workspace}\noops\n[exit 3, ")


async def test_it_sees_model_and_public_files_and_no_secret(bench: Bench) -> None:
    done = await bench.call(
        "bash", command=f"cat $TARGET/OBJECTIVE.md; ls $MODEL_DIR; cat {bench.places.workspace.parent}/secret; env"
    )
    assert "faster" in done and "config.json" in done and "No such file" in done
    assert "API_KEY" not in done and "VIBESERVE_RUN=test-" in done


async def test_it_reaches_no_network_but_its_own_loopback(bench: Bench) -> None:
    script = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    done = await bench.call("bash", command=f'python3 -c "{script}"')
    assert "Error" in done and "[exit 1" in done


async def test_a_server_can_be_tried_on_the_boxs_own_loopback(bench: Bench) -> None:
    script = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('up')"
    assert (await bench.call("bash", command=f'python3 -c "{script}"')).startswith("up\n[exit 0")


async def test_a_writer_changes_files_and_a_reader_cannot(bench: Bench) -> None:
    await bench.call("bash", command="echo 'x = 2' > server/new.py")
    assert (bench.places.workspace / "server" / "new.py").read_text() == "x = 2\n"
    done = await bench.read_only().call("bash", command="echo 'x = 3' > server/new.py")
    assert "Read-only file system" in done or "Permission denied" in done
    assert (bench.places.workspace / "server" / "new.py").read_text() == "x = 2\n"


async def test_public_files_are_read_only_for_everybody(bench: Bench) -> None:
    await bench.call("bash", command="echo cheat > $TARGET/OBJECTIVE.md; echo x > $MODEL_DIR/config.json")
    assert (bench.places.public / "OBJECTIVE.md").read_text() == "# Serve\nfaster\n"
    assert (bench.shell.model_dir / "config.json").read_text() == "{}"


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(bench: Bench) -> None:
    done = await bench.call("bash", command="sleep 300 & sleep 300", timeout_s=0.5)
    assert done == "[ended: the limit of timeout of 0.5 s was reached]"


async def test_a_flood_of_output_is_cut_and_can_be_read_whole(bench: Bench) -> None:
    done = await bench.call("bash", command="seq 100000; printf '\\377 not UTF-8'")
    assert len(done) < 11_000
    assert done.startswith("1\n2\n") and "\ufffd not UTF-8\n[exit 0" in done
    name = done.split("read ")[1].split(" …")[0]
    assert "50000" in await bench.call("read", path=name, start=50_000, limit=1)


async def test_grep_finds_lines_by_a_regular_expression(bench: Bench) -> None:
    assert await bench.call("grep", pattern=r"total\s*\+=") == "server/engine.py:7:         total += one\n"
    assert await bench.call("grep", pattern="max_batch", path="server/e") == "no line matches"
    assert "not a pattern" in await bench.refusal("grep", pattern="(")


async def test_grep_says_when_there_is_too_much_and_skips_what_is_no_text(bench: Bench) -> None:
    (bench.places.workspace / "many.txt").write_text("hit\n" * 500)
    (bench.places.workspace / "blob.bin").write_bytes(b"hit\0")
    (bench.places.workspace / "link").symlink_to("/etc/passwd")
    done = await bench.call("grep", pattern="hit|root")
    assert done.count("many.txt:") == 200
    assert "more than 200 hits" in done
    assert "blob.bin" not in done and "link" not in done


async def test_caches_of_a_run_are_no_part_of_an_attempt(bench: Bench) -> None:
    await bench.call(
        "bash", command="python3 -m py_compile server/engine.py; mkdir -p a/.pytest_cache; ln -s /etc link; mkdir .git"
    )
    assert (bench.places.workspace / "server" / "__pycache__").exists()
    remove_caches(bench.places.workspace)
    assert not (bench.places.workspace / "server" / "__pycache__").exists()
    assert not (bench.places.workspace / "a" / ".pytest_cache").exists()
    assert (bench.places.workspace / ".git").exists(), "a nested repository has to be refused, not forgotten"
