"""`vibeserve export`: what comes out is the tree that was measured, with its papers, and starts without VibeServe."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded_run import SEED, TARGET, VERSIONS, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.errors import EnvironmentFault, InputError, RunError
from vibeserve_tui.export.papers import Names, Origin, run_script
from vibeserve_tui.export.project import export_project
from vibeserve_tui.export.requirements import Requirement, requirements_text, third_party
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import read_definition
from vibeserve_tui.inputs.target_sections import ServeSpec
from vibeserve_tui.recipes.chain import apply_chain, closure
from vibeserve_tui.recipes.lint import SPECIMEN
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.resources import Shipped, shipped_folder
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.run_dir import RunDir

if TYPE_CHECKING:
    from openai import OpenAI

SHOW_ENVIRONMENT = "import json, os, sys; print(json.dumps({'argv': sys.argv, 'cwd': os.getcwd(), **os.environ}))\n"
REJECTED = Played(SEED, "a wrong one", outcome=ev.Outcome.FAILED, passed=False, ratio=None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that starts at once and says where it is."""
    tree = tmp_path_factory.mktemp("small")
    (tree / "server").mkdir()
    (tree / "server" / "__init__.py").write_text("")
    (tree / "server" / "__main__.py").write_text(SHOW_ENVIRONMENT)
    (tree / "README.md").write_text("the tree's own\n")
    return tree


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> RunDir:
    changed = Played(small_tree, "the loop | in\nCython", skill="own-loop", ratio=1.5)
    return record_run(tmp_path_factory.mktemp("runs") / "20261120-081400-tiny-llama-chat", [changed, REJECTED])


def test_the_confirmed_champion_comes_out_byte_for_byte_with_its_weights_and_papers(
    run: RunDir, small_tree: Path, tmp_path: Path
) -> None:
    origin = export_project(run, tmp_path / "out")
    assert origin.record.number == 1
    out = contents(tmp_path / "out")
    assert {name: out[name] for name in contents(small_tree)} == contents(small_tree)
    weights = contents(TARGET / "reference" / "model")
    assert {name: out[f"model/{name}"] for name in weights} == weights
    assert stat.S_IMODE((tmp_path / "out" / "model").stat().st_mode) == 0o755
    assert out["NOTICE"] == (TARGET / "NOTICE").read_bytes()
    assert b"Apache License" in out["LICENSE"]
    assert set(out) - set(contents(small_tree)) - {f"model/{name}" for name in weights} == {
        "LICENSE", "NOTICE", "provenance.json", "requirements.txt", "run.sh", "vibeserve-README.md",
    }  # fmt: skip


def test_the_papers_say_where_it_comes_from_and_quote_only_confirmed_figures(run: RunDir, tmp_path: Path) -> None:
    origin = export_project(run, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert facts["commit"] == origin.record.commit
    assert facts["versions"] == VERSIONS
    assert facts["confirmed"][0]["ratio"] == 1.4
    assert [round_["skill"] for round_ in facts["rounds"]] == ["own-loop"]
    readme = (tmp_path / "out" / "vibeserve-README.md").read_text()
    assert "| output_throughput ★ | c16 | 100 tok/s | 140 tok/s | ×1.40 | [1.35, 1.45] |" in readme
    assert "| 1 | the loop \\| in Cython | `own-loop` | ×1.50 | [1.45, 1.55] |" in readme
    for fact in (facts["target"]["digest"], origin.record.commit, "namespaces", "torch 2.9.1+cpu", "`NOTICE`"):
        assert fact in readme


def test_the_same_round_is_exported_the_same_way_every_time(run: RunDir, tmp_path: Path) -> None:
    export_project(run, tmp_path / "one")
    export_project(run, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [None, 0.9], ids=["ended before", "no gain"])
def test_a_run_without_a_confirmed_champion_is_refused_unless_the_round_is_named(
    small_tree: Path, tmp_path: Path, ratio: float | None
) -> None:
    run = record_run(tmp_path / "run", [Played(small_tree)], confirmed=ratio)
    with pytest.raises(RunError, match="no champion was confirmed"):
        export_project(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not export_project(run, tmp_path / "out", number=1).confirmed
    assert "**Not confirmed**" in (tmp_path / "out" / "vibeserve-README.md").read_text()
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["confirmed"] == []
    assert export_project(run, tmp_path / "best", force=True).record.number == (0 if ratio else 1)


def test_a_round_that_the_judge_turned_down_is_exported_only_by_force_and_says_so(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="did not accept round 2: 3 of 64"):
        export_project(run, tmp_path / "out", number=2)
    export_project(run, tmp_path / "out", number=2, force=True)
    assert "**The judge did not accept it**" in (tmp_path / "out" / "README.md").read_text()


def test_a_round_that_does_not_exist_is_refused_with_those_that_do(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="rounds that have one: 0, 1, 2"):
        export_project(run, tmp_path / "out", number=7)


def test_a_folder_with_content_is_refused_and_by_force_only_the_export_in_it_is_replaced(
    run: RunDir, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_project(run, out)
    with pytest.raises(InputError, match="not empty"):
        export_project(run, out)
    (out / "server" / "left_over.py").write_text("")
    (out / "my notes.txt").write_text("mine")
    export_project(run, out, force=True)
    assert not (out / "server" / "left_over.py").exists()
    assert (out / "my notes.txt").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for destination in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentFault, match="cannot be written"):
            export_project(run, destination)


def test_a_target_that_was_changed_since_is_refused(small_tree: Path, tmp_path: Path) -> None:
    run = record_run(tmp_path / "run", [Played(small_tree)])
    notice = run.path / "target" / "tiny-llama-chat" / "NOTICE"
    notice.chmod(0o644)
    notice.write_text("nothing to see here")
    with pytest.raises(RunError, match="missing or was changed"):
        export_project(run, tmp_path / "out")


def test_the_verb_names_the_round_and_how_to_start_it(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run.path), str(tmp_path / "out")]) == 0
    assert "round 1" in (said := capsys.readouterr().out)
    assert f"{tmp_path}/out/run.sh" in said


# ---- run.sh -------------------------------------------------------------------------------------------------------


def start(project: Path, cwd: Path, **environment: str) -> dict[str, object]:
    env = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment}
    done = subprocess.run(
        [project / "run.sh"], cwd=cwd, env=env, capture_output=True, text=True, check=True, timeout=30
    )
    return dict(json.loads(done.stdout))


def test_run_sh_starts_the_server_from_any_directory_and_writes_only_below_its_own(run: RunDir, tmp_path: Path) -> None:
    project = tmp_path / "out with blanks"
    origin = export_project(run, project)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    seen = start(project, elsewhere)
    assert seen["cwd"] == str(project)
    assert seen["MODEL_DIR"] == f"{project}/model"
    assert seen["BUILD_DIR"] == seen["TMPDIR"] == f"{project}/build"
    assert (seen["HOST"], seen["PORT"], seen["OMP_NUM_THREADS"]) == ("127.0.0.1", "8000", "1")
    assert seen["VIBESERVE_COMMIT"] == origin.record.commit


def test_run_sh_takes_what_the_environment_says_relative_to_where_it_is_called(run: RunDir, tmp_path: Path) -> None:
    export_project(run, tmp_path / "out")
    (elsewhere := tmp_path / "elsewhere" / "weights").mkdir(parents=True)
    (elsewhere.parent / "python").symlink_to(sys.executable)
    seen = start(
        tmp_path / "out", elsewhere.parent, MODEL_DIR="weights", BUILD_DIR="made", PORT="8123", PYTHON="./python"
    )
    assert seen["MODEL_DIR"] == str(elsewhere)
    assert seen["BUILD_DIR"] == str(elsewhere.parent / "made")
    assert seen["PORT"] == "8123"
    assert not (tmp_path / "out" / "build").exists()


def test_run_sh_says_in_one_line_that_the_weights_are_missing(run: RunDir, tmp_path: Path) -> None:
    export_project(run, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "model")
    done = subprocess.run([tmp_path / "out" / "run.sh"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "MODEL_DIR" in done.stderr


def test_run_sh_builds_once_and_hands_on_every_word_and_variable_as_it_was_declared(tmp_path: Path) -> None:
    serve = ServeSpec(
        command=("{python}", "-c", SHOW_ENVIRONMENT, "it's $HOME", "{python}x"),
        build=("{python}", "-c", "import os; open(os.environ['BUILD_DIR'] + '/log', 'a').write('built ')"),
        env={"GREETING": "it's `$HOME`; }"},
    )
    target = read_definition(TARGET).model_copy(update={"serve": serve})
    plan = ev.RunPlan(target="tiny", target_path="", target_digest="")
    record = ev.RoundRecord(number=0, task=ev.TaskPlan(title=""), outcome="kept", reason="")
    names = Names("README.md", "requirements.txt", "model", "build", "run.sh", "provenance.json", ())
    (tmp_path / "model").mkdir()
    (tmp_path / "run.sh").write_text(run_script(Origin(RunState(), plan, record, target), names))
    (tmp_path / "run.sh").chmod(0o755)
    for _ in range(2):
        seen = start(tmp_path, tmp_path)
    assert seen["argv"] == ["-c", "it's $HOME", f"{sys.executable}x"]
    assert seen["GREETING"] == "it's `$HOME`; }"
    assert (tmp_path / "build" / "log").read_text() == "built "


# ---- requirements.txt ---------------------------------------------------------------------------------------------


def with_recipes(tree: Path, *names: str) -> Path:
    book = RecipeBook.load(SkillLibrary.load([shipped_folder(Shipped.SKILLS)]))
    apply_chain(book, {name: {} for name in closure(book, names)}, SEED, tree, SPECIMEN)
    return tree


def test_what_the_server_imports_is_pinned_to_the_versions_of_the_run(tmp_path: Path) -> None:
    tree = with_recipes(tmp_path / "tree", "kv-cache-preallocate", "http-path")
    export_project(record_run(tmp_path / "run", [Played(tree)]), tmp_path / "out")
    pins = (tmp_path / "out" / "requirements.txt").read_text().splitlines()[1:]
    assert [pin.split("==")[0] for pin in pins] == ["jinja2", "numpy", "safetensors", "tokenizers", "torch"]
    assert "numpy==2.1.0" in pins
    assert "torch==2.9.1  # in the run: 2.9.1+cpu" in pins


def test_what_only_a_fallback_needs_is_optional_and_the_readme_says_so(tmp_path: Path) -> None:
    tree = with_recipes(tmp_path / "tree", "kv-cache-preallocate", "native-cpu-kernel", "http-path")
    export_project(record_run(tmp_path / "run", [Played(tree)]), tmp_path / "out")
    pins = (tmp_path / "out" / "requirements.txt").read_text().splitlines()[1:]
    assert [pin.split("==")[0] for pin in pins if not pin.startswith("#")] == ["jinja2", "numpy", "tokenizers"]
    assert "Optional: `safetensors` and `torch`, for the part" in (tmp_path / "out" / "README.md").read_text()


MAIN = "server/__main__.py"
TREES = {
    "its own modules and the standard library are not needed": ({MAIN: "import os, helpers\nfrom server import x"}, "", ""),
    "straight imports within functions count": ({MAIN: "def main():\n    import numpy.linalg"}, "numpy", ""),
    "what an imported module needs counts": (
        {MAIN: "from .engine import Engine", "server/engine.py": "from .deep import kernel", "server/deep/kernel.py": "import torch"},
        "torch",
        "",
    ),
    "an except branch is a fallback": (
        {MAIN: "try:\n    import a.b\nexcept OSError:\n    from server import slow", "server/slow.py": "import torch"},
        "a",
        "torch",
    ),
    "an import that may fail is optional": ({MAIN: "try:\n    import uvloop\nexcept ImportError:\n    pass"}, "", "uvloop"),
    "catching everything says nothing about imports": (
        {MAIN: "try:\n    import torch\nexcept:\n    raise ImportError"}, "torch", "",
    ),
    "an import under a condition is optional": ({MAIN: "import os\nif os.name:\n    import torch"}, "", "torch"),
    "needed once is needed": (
        {MAIN: "from server import b, c", "server/b.py": "if 1:\n    import a", "server/c.py": "import a"}, "a", "",
    ),
    "an import for annotations only is none": (
        {MAIN: "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"}, "", "",
    ),
    "a file that nothing loads is optional": ({MAIN: "", "server/old.py": "import flask"}, "", "flask"),
    "a file that is no Python imports nothing": ({MAIN: "import a", "server/notes.py": "import b this"}, "a", ""),
}  # fmt: skip


@pytest.mark.parametrize(("files", "required", "optional"), TREES.values(), ids=TREES)
def test_imports_are_sorted_into_required_and_optional(
    tmp_path: Path, files: dict[str, str], required: str, optional: str
) -> None:
    for name, text in ({"server/__init__.py": "", "helpers.py": ""} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = third_party(tmp_path, ["{python}", "-m", "server"])
    assert [one.package for one in found if not one.optional] == required.split()
    assert [one.package for one in found if one.optional] == optional.split()


def test_a_package_that_nobody_knows_is_named_without_a_version() -> None:
    text = requirements_text([Requirement("no_such_package", optional=False, file="a.py")], {})
    assert text.splitlines()[1].startswith("no_such_package  # version unknown")


def test_a_package_is_pinned_under_the_name_of_its_distribution() -> None:
    text = requirements_text([Requirement("yaml", optional=True, file="server/a.py")], {})
    assert f"# optional, only for a fallback in server/a.py:\n# pyyaml=={version('pyyaml')}\n" in text


# ---- the server, as its users meet it -----------------------------------------------------------------------------

NOTHING_OF_OURS = """\
import sys
class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vibeserve_tui", "vibeserve_cpu"):
            raise ImportError(f"{name}: an export must do without it")
sys.meta_path.insert(0, Refusal())
"""


@contextmanager
def served(tree: Path, scratch: Path) -> Iterator[str]:
    """The address of the exported server, started by its run.sh with an interpreter that cannot import VibeServe."""
    export_project(record_run(scratch / "run", [Played(tree)]), scratch / "out")
    (scratch / "blocker").mkdir()
    (scratch / "blocker" / "sitecustomize.py").write_text(NOTHING_OF_OURS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"], "PYTHON": sys.executable, "PORT": str(port), "HOME": str(scratch),
        "PYTHONPATH": str(scratch / "blocker"),
    }  # fmt: skip
    with (scratch / "log").open("wb") as log:
        server = subprocess.Popen([scratch / "out" / "run.sh"], cwd=scratch, env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(server, address, scratch / "log")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=10)


def ask(address: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def wait_until_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if ask(address, "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not ready: {log.read_text()}")


@pytest.fixture(scope="module", params=["fast", pytest.param("seed", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("served")
    tree = with_recipes(scratch / "tree", "kv-cache-preallocate", "http-path") if request.param == "fast" else SEED
    with served(tree, scratch) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)


def test_the_official_client_gets_completions_with_usage(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt="def add(a, b):", max_tokens=8, temperature=0)
    assert answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_the_official_client_streams_the_same_completion(client: OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "def add(a, b):", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage


def test_the_official_client_chats(client: OpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a list?"}]
    asked = {"model": "tiny", "messages": messages, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage.completion_tokens <= 8
    chunks = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


ASKED = {"prompt": "a", "max_tokens": 4}
MALFORMED = {
    "no JSON": ("/v1/completions", b"{"),
    "no object": ("/v1/completions", b"[1]"),
    "no prompt": ("/v1/completions", b"{}"),
    "two prompts": ("/v1/completions", json.dumps(ASKED | {"prompt": ["a", "b"]}).encode()),
    "no tokens wanted": ("/v1/completions", json.dumps(ASKED | {"max_tokens": 0}).encode()),
    "more than the context": ("/v1/completions", json.dumps(ASKED | {"max_tokens": 100_000}).encode()),
    "a temperature in words": ("/v1/completions", json.dumps(ASKED | {"temperature": "hot"}).encode()),
    "a token that does not exist": ("/v1/completions", json.dumps(ASKED | {"prompt": [10**9]}).encode()),
    "no messages": ("/v1/chat/completions", b'{"messages": []}'),
    "an unknown role": ("/v1/chat/completions", b'{"messages": [{"role": "robot", "content": "x"}]}'),
    "no such path": ("/v1/nothing", b"{}"),
}


@pytest.mark.parametrize(("path", "body"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_gets_an_error_object_and_harms_nobody(
    address: str, client: OpenAI, path: str, body: bytes
) -> None:
    status, answer = ask(address, path, body)
    assert 400 <= status < 500
    error = answer["error"]
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert client.completions.create(model="tiny", prompt="x", max_tokens=1).choices


def test_the_client_of_the_official_library_sees_the_refusal_as_its_own_error(client: OpenAI) -> None:
    from openai import BadRequestError

    with pytest.raises(BadRequestError, match="max_tokens"):
        client.completions.create(model="tiny", prompt="x", max_tokens=0)
