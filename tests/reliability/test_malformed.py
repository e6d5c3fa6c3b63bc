"""More than 300 malformed inputs, made from sound ones by one change each: one line that names file and place, exit 2."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import open_run
from tests.inputs.small_target import write_target
from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import commands as cmd
from vibeserve_tui.cli import main
from vibeserve_tui.errors import InputError, StateDamaged
from vibeserve_tui.inputs.config import load_config
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_profiles
from vibeserve_tui.state.journal import Journal, encode_line
from vibeserve_tui.steering import Desk

pytestmark = pytest.mark.slow
INPUT, DAMAGED = 2, 5
LONGEST_S = 1.0
KEY = re.compile(r"^(?P<key>[a-z_]+) = .*$")


@dataclass(frozen=True)
class Broken:
    """A text with one fault, and what was done to it."""

    what: str
    text: str


def broken_toml(text: str) -> Iterator[Broken]:
    """Each line spoilt in each of five ways; only lines of their own are touched, never those inside a bracket."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not (match := KEY.match(line)) or line.endswith(("[", "(")):
            continue
        for what, spoilt in (
            ("twice", f"{line}\n{line}"),
            ("no value", f"{match['key']} ="),
            ("another type", f"{match['key']} = 2020-01-01T00:00:00"),
            ("unknown key", f"{line}\n{match['key']}_ = 1"),
            ("an endless number", f"{match['key']} = 0x{'f' * 9000}"),
        ):
            changed = [*lines[:number], spoilt, *lines[number + 1 :]]
            yield Broken(f"line {number + 1} {match['key']}: {what}", "\n".join(changed) + "\n")


def says_one_line(capfd: pytest.CaptureFixture[str], words: list[str], *, names: str, code: int = INPUT) -> str | None:
    """What is wrong with how a command line was answered, or None."""
    begun = time.process_time()
    try:
        got = main(words)
    except SystemExit as ended:
        got = ended.code
    took_s = time.process_time() - begun
    err = capfd.readouterr().err
    if got != code:
        return f"exit {got}: {err}"
    if len(err.splitlines()) != 1 or "Traceback" in err:
        return f"not one line: {err}"
    if names not in err:
        return f"{names} is not named: {err}"
    return f"took {took_s:.1f} s" if took_s > LONGEST_S else None


def faults(cases: list[Broken], check: Callable[[Broken], str | None]) -> list[str]:
    return [f"{case.what}: {fault}" for case in cases if (fault := check(case))]


COUNTS: dict[str, int] = {}


@pytest.fixture(scope="module", autouse=True)
def everything_is_loaded() -> None:
    """What the first command line imports is not what a malformed input costs."""
    with pytest.raises(SystemExit):
        main(["skills", "lint", "--help"])
    main(["ls", "--runs-dir", "/nonexistent"])
    main(["run", "nothing"])


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def test_targets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = write_target(tmp_path)
    cases = list(broken_toml((root / "target.toml").read_text()))
    COUNTS["targets"] = len(cases)

    def check(case: Broken) -> str | None:
        (root / "target.toml").write_text(case.text)
        return says_one_line(capfd, ["run", str(root)], names="target.toml")

    assert faults(cases, check) == []


def test_profiles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.toml"
    cases = list(broken_toml(shipped_profiles()["thorough"].read_text()))
    COUNTS["profiles"] = len(cases)

    def check(case: Broken) -> str | None:
        file.write_text(case.text)
        return says_one_line(capfd, ["run", "--profile", str(file)], names="own.toml")

    assert faults(cases, check) == []


CONFIG = """\
[run]
profile = "quick"
backend = "cpu"
agent = "playbook"
approval = "auto"

[ui]
theme = "vibeserve-dark"
glyphs = "auto"
repaint_hz = 4
"""


def test_settings(tmp_path: Path) -> None:
    cases = list(broken_toml(CONFIG))
    COUNTS["settings"] = len(cases)

    def check(case: Broken) -> str | None:
        (tmp_path / "vibeserve.toml").write_text(case.text)
        try:
            load_config({}, project=tmp_path)
        except InputError as error:
            return None if "vibeserve.toml" in str(error) and len(str(error).splitlines()) == 1 else str(error)
        return "was accepted"

    assert faults(cases, check) == []


def test_skills(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    skill = tmp_path / "skills" / "kv-cache-preallocate"
    shutil.copytree(shipped_folder(Shipped.SKILLS) / "kv-cache-preallocate", skill)
    recipe, front = skill / "recipe.toml", skill / "SKILL.md"
    sound, sound_front = recipe.read_text(), front.read_text()
    cases = list(broken_toml(sound))[:80]
    COUNTS["recipes"] = len(cases)

    def check_recipe(case: Broken) -> str | None:
        """The linter lists what it finds, one line each; that is its output and no error."""
        recipe.write_text(case.text)
        code = main(["skills", "lint", "--skills-dir", str(skill.parent)])
        out, err = capfd.readouterr()
        sound_line = re.compile(r".*kv-cache-preallocate.*recipe\.toml.*: .+")
        odd = [line for line in out.splitlines() if not sound_line.fullmatch(line)]
        return None if (code, err, odd) == (INPUT, "", []) and out else f"exit {code}: {err}{out}"

    assert faults(cases, check_recipe) == []
    recipe.write_text(sound)
    fronts = [
        Broken("no end", sound_front.replace("\n---\n", "\n", 1)),
        Broken("no name", sound_front.replace("name: ", "nmae: ", 1)),
        Broken("another name", sound_front.replace("name: kv", "name: vk", 1)),
        Broken("a list", sound_front.replace("license: Apache-2.0", "- license", 1)),
        Broken("an alias", sound_front.replace("license: Apache-2.0", "license: &a [*a]", 1)),
        Broken("a python object", sound_front.replace("Apache-2.0", "!!python/object/apply:os.system [id]", 1)),
        Broken("a tab", sound_front.replace("  vibe-kind", "\tvibe-kind", 1)),
        Broken("a tag that is no word", sound_front.replace("Apache-2.0", "!!bool maybe", 1)),
        Broken("a tag that is no number", sound_front.replace("Apache-2.0", '!!int ""', 1)),
        Broken("a tag that is no time", sound_front.replace("Apache-2.0", "!!timestamp now", 1)),
        Broken("a date for a key", sound_front.replace("metadata:\n", "metadata:\n  2020-01-01: x\n", 1)),
        Broken("bytes for a key", sound_front.replace("metadata:\n", "metadata:\n  ? !!binary aGk=\n  : x\n", 1)),
        Broken("a list for a key", sound_front.replace("metadata:\n", "metadata:\n  ? [a]\n  : x\n", 1)),
        Broken("an endless number", sound_front.replace("Apache-2.0", f"0x{'f' * 9000}", 1)),
        Broken("an endless time", sound_front.replace("Apache-2.0", "1" + ":59" * 3000, 1)),
        Broken("a deep nest", sound_front.replace("Apache-2.0", "[" * 5000, 1)),
        Broken("nothing", ""),
    ]  # fmt: skip
    COUNTS["skills"] = len(fronts)

    def check_front(case: Broken) -> str | None:
        front.write_text(case.text)
        return says_one_line(capfd, ["skills", "ls", "--skills-dir", str(skill.parent)], names="SKILL.md")

    assert faults(fronts, check_front) == []


def broken_commands() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Name, the field that has to be named, and the command."""
    for cls in cmd.COMMAND_CLASSES:
        kind = str(cls.model_fields["kind"].default)
        base = {"kind": kind, **_needed(cls)}
        yield f"{kind} with an unknown field", "force", {**base, "force": True}
        for field in set(cls.model_fields) - {"kind"}:
            yield f"{kind}.{field} a table", field, {**base, field: {"a": [1]}}
            yield f"{kind}.{field} without an end", field, {**base, field: "9" * 300_000}
    yield "no kind", "", {"id": "x"}


def _needed(cls: type[cmd.Command]) -> dict[str, object]:
    given = {"round": 1, "note": "n", "title": "t", "issue": "I-1", "text": "t", "base_sha256": "0", "mode": "auto"}
    return {name: given.get(name, 1) for name, field in cls.model_fields.items() if field.is_required()}


def test_commands(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    desk, cases = Desk(run, approval_timeout_s=None), list(broken_commands())
    COUNTS["commands"] = len(cases)
    found = []
    for number, (what, field, command) in enumerate(cases):
        (run.dir.inbox / f"c{number}.json").write_text(json.dumps(command))
        desk.scan()
        reason = run.state.answered.get(f"c{number}", "accepted")
        if reason == "accepted" or field not in reason or len(reason.splitlines()) != 1:
            found.append(f"{what}: {reason}")
    assert found == []


def spoilt_records() -> Iterator[tuple[str, object]]:
    """Lines whose checksum is right and whose content is not."""
    sound = {
        "v": 1, "seq": 2, "grp": 2, "more": 0, "ts_wall": 1.0, "ts_mono": 1.0, "boot_id": "b", "kind": "warned",
        "data": {"text": "x"}, "prev": "",
    }  # fmt: skip
    wrong: dict[str, list[object]] = {
        "v": ["1", None, [], 1.5], "seq": ["2", None, -1, 3], "more": ["0", -1, None, 1.5], "ts_wall": ["now", None, [], 1e300, -1.0],
        "ts_mono": ["now", None], "boot_id": [1, None], "kind": [1, None, [], {}], "prev": [1, None, "00000000"],
        "data": [[], None, "x", {}, {"text": 1}, {"text": "x", "more": 1}, {"txet": "x"}],
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            yield f"{name} = {value!r}", {**sound, name: value}
        yield f"no {name}", {key: member for key, member in sound.items() if key != name}
    for kind in (
        "run_started",
        "round_finished",
        "attempt_committed",
        "measurement_finished",
        "issue_changed",
        "confirmed",
    ):
        yield f"an empty {kind}", {**sound, "kind": kind, "data": {}}
    for name, value in (("max_rounds", "many"), ("max_minutes", "long"), ("max_rounds", "1e3"), ("approval", "never")):
        yield f"{name} = {value}", {**sound, "kind": "setting_changed", "data": {"name": name, "value": value}}


def engine_says(journal: Path) -> int:
    try:
        Journal(journal).close()
    except StateDamaged as damage:
        return damage.exit_code
    return 0


def test_journals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = record_run(tmp_path / "sound", [Played(SEED)]).journal.read_bytes()
    first, rest = whole.split(b"\n", 1)
    prev = first[-10:-2].decode()
    follower = rest.split(b"\n")[-2] + b"\n"
    cases: list[tuple[str, bytes]] = []
    for what, fields in spoilt_records():
        if isinstance(fields, dict) and fields.get("prev") == "":
            fields["prev"] = prev
        cases.append((what, first + b"\n" + encode_line(fields)[0] + follower))
    flips = range(0, len(first), max(1, len(first) // 60))
    cases += [(f"bit of byte {at}", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]) for at in flips]
    noise = {
        "zeros": bytes(4096) + b"\n",
        "a page of JSON": b'{"a": 1}\n' * 9,
        "text": b"hello\n" * 9,
        "lines": b"\n" * 9,
    }
    cases += [(what, first + b"\n" + content + follower) for what, content in noise.items()]
    COUNTS["journals"] = len(cases)
    found = []
    journal = tmp_path / "runs" / "spoilt" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    words = ["report", "spoilt", "--runs-dir", str(tmp_path / "runs")]
    for what, content in cases:
        journal.write_bytes(content)
        fault = says_one_line(capfd, words, names="journal.jsonl, line ")
        found += [f"{what}: {fault}"] if fault else []
        if engine_says(journal) != DAMAGED:
            found.append(f"{what}: an engine would go on with it")
        if journal.read_bytes() != content:
            found.append(f"{what}: the journal was changed")
    assert found == []


def test_those_were_more_than_300(record_property) -> None:
    record_property("trials", f"{sum(COUNTS.values())} inputs")
    assert sum(COUNTS.values()) >= 300, COUNTS
