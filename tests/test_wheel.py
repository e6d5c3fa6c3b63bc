"""The wheel holds everything: installed elsewhere, the command line finds its targets, skills and backend."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv with the wheel; it borrows the packages of this one, but not its editable install."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(command, check=True, timeout=300)
    own = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})["purelib"]
    # A path named in a .pth file is searched, but .pth files found there are not obeyed: the repository stays out.
    Path(own, "borrowed.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return home


def in_environment(environment: Path, cwd: Path, *arguments: str) -> str:
    env = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": str(cwd)}
    done = subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_command_runs_from_any_directory(environment: Path, tmp_path: Path) -> None:
    where = in_environment(environment, tmp_path, "python", "-c", "import vibeserve_tui; print(vibeserve_tui.__file__)")
    assert where.startswith(str(environment))
    assert "vibeserve export latest my-server" in in_environment(environment, tmp_path, "vibeserve", "--help")
    assert "tiny-llama-chat" in in_environment(environment, tmp_path, "vibeserve", "target", "ls")
    checked = in_environment(environment, tmp_path, "vibeserve", "target", "check", "tiny-llama-chat", "--static")
    assert "files and fields are sound" in checked


def test_all_skills_came_along_and_the_backend_that_they_are_offered_on(environment: Path, tmp_path: Path) -> None:
    listed = in_environment(environment, tmp_path, "vibeserve", "skills", "ls").splitlines()[1:]
    assert {line.split()[0] for line in listed} == {path.parent.name for path in ROOT.glob("skills/*/SKILL.md")}
    assert any(line.split()[2] == "yes" for line in listed)


def test_the_wheel_holds_what_ships_and_nothing_of_the_workbench(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for wanted in (
        "vibeserve_tui/py.typed", "vibeserve_tui/tui/app.tcss", "vibeserve_tui/_data/profiles/quick.toml",
        "vibeserve_tui/_data/targets/tiny-llama-chat/reference/model/model.safetensors", "vibeserve_cpu/__init__.py",
    ):  # fmt: skip
        assert wanted in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.endswith(".pyc")]
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"vibeserve_tui", *(path.name for path in ROOT.glob("backends/*") if path.is_dir())}
