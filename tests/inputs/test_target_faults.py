from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inputs.small_target import safetensors, write_target
from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.target import load_target, target_faults
from vibeserve_tui.inputs.toml_files import line_of


def swap(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text, f"the shipped target.toml has no {old!r}"
        return text.replace(old, new, 1)

    return edit


def at_top(line: str) -> Callable[[str], str]:
    return swap("schema = 1\n", f"schema = 1\n{line}\n")


def at_end(lines: str) -> Callable[[str], str]:
    return lambda text: f"{text}\n{lines}\n"


MALFORMED = {
    # id: (edit, field, what the line says)
    "not toml": (swap("schema = 1", "schema = ="), "", "not valid TOML"),
    "duplicate key": (at_top("schema = 1"), "", "not valid TOML"),
    "endless digits": (at_top(f"goal = {'9' * 5000}"), "", "not valid TOML"),
    "bottomless array": (at_top(f"goal = {'[' * 900}{']' * 900}"), "", "nested too deep"),
    "deep array": (at_top(f"goal = {'[' * 40}{']' * 40}"), "goal", "nested too deep"),
    "a date": (swap('license = "Apache-2.0"', "license = 2026-11-20"), "license", "dates and times"),
    "not a number": (swap("goal_speedup = 0.0", "goal_speedup = nan"), "goal_speedup", "not a finite number"),
    "no version": (swap("schema = 1\n", ""), "schema", "is missing"),
    "future version": (swap("schema = 1", "schema = 2"), "schema", "2 is not known"),
    "unknown key": (swap("title =", "titel ="), "titel", "did you mean 'title'"),
    "unknown table": (at_end("[serving]\nx = 1"), "serving", "did you mean 'serve'"),
    "unknown key in a table": (swap("exact_in =", "exactin ="), "model.exactin", "did you mean 'exact_in'"),
    "unknown key in a row": (swap("concurrency = 1,", "concurency = 1,"), "levels[0].concurency", "'concurrency'"),
    "no name": (swap('name = "tiny-llama-chat"\n', ""), "name", "is missing"),
    "name with capitals": (swap('name = "tiny-llama-chat"', 'name = "Tiny"'), "name", "not a target name"),
    "name of another folder": (swap('name = "tiny-llama-chat"', 'name = "tiny"'), "name", "the folder is called"),
    "empty title": (swap("Tiny Llama, chat traffic, 1 to 16 clients", ""), "title", "at least 1"),
    "endless title": (swap("Tiny Llama, chat", "Tiny Llama, chat" * 20), "title", "at most 120"),
    "unknown modality": (swap('"text_generation"', '"text_generatoin"'), "modality", "did you mean 'text_generation'"),
    "no backend": (swap('["cpu", "cuda", "metal"]', "[]"), "backends", "at least 1"),
    "backend twice": (swap('["cpu", "cuda", "metal"]', '["cpu", "cpu"]'), "backends", "'cpu' occurs 2 times"),
    "text for a list": (swap('["cpu", "cuda", "metal"]', '"cpu"'), "backends", "should be a valid array"),
    "text for a number": (swap("concurrency = 16", 'concurrency = "16"'), "levels[1].concurrency", "valid integer"),
    "yes for a number": (swap("concurrency = 16", "concurrency = true"), "levels[1].concurrency", "valid integer"),
    "no clients": (swap("concurrency = 16", "concurrency = 0"), "levels[1].concurrency", "greater than 0"),
    "idle clients": (swap("requests = 32", "requests = 8"), "levels[1].requests", "cannot keep 16 clients busy"),
    "unknown load mode": (swap('mode = "closed"', 'mode = "close"'), "levels[0].mode", "did you mean 'closed'"),
    "no load mode": (swap('mode = "closed", ', ""), "levels[0]", "needs 'mode'"),
    "key of another mode": (swap("concurrency = 1,", "rate = 1.0,"), "levels[0].rate", "unknown key"),
    "level twice": (swap('id = "c16"', 'id = "c1"'), "levels", "'c1' occurs 2 times"),
    "backwards sweep": (
        swap('mode = "closed", concurrency = 1,', 'mode = "sweep", start = 9.0, stop = 2.0,'),
        "levels[0].start",
        "not below stop",
    ),
    "metric nobody reports": (swap('"median_ttft_ms"', '"median_ttft"'), "metrics[2].name", "did you mean"),
    "goodput of no one's idea": (
        swap('"median_ttft_ms", level = "c1"', '"request_goodput", level = "c1"'), "metrics[2].level", "what is good"
    ),
    "a tail of a handful": (swap('"median_ttft_ms"', '"p90_ttft_ms"'), "metrics[2].name", "16 samples at level 'c1'"),
    "a far tail of a few": (swap('"p90_ttft_ms"', '"p99_ttft_ms"'), "guards[0].name", "a p99: it takes 1000"),
    "metric at no level": (swap('level = "c16", unit = "tok/s"', 'unit = "tok/s"'), "metrics[0].level", "is missing"),
    "metric at an unknown level": (swap('level = "c16"', 'level = "c166"'), "metrics[0].level", "did you mean 'c16'"),
    "no direction": (swap('unit = "ms", direction = "min" }', 'unit = "ms" }'), "metrics[2].direction", "is missing"),
    "a sampled workload": (
        swap("temperature = 0.0", "temperature = 0.8"), "workload.temperature", "compared with greedy ones"
    ),
    "no headline": (swap("headline = true", "headline = false"), "metrics", "0 headline metrics"),
    "lonely pareto": (at_top("pareto = true"), "pareto", "1 headline metrics"),
    "huge tolerance": (swap("tolerance = 0.05", "tolerance = 5"), "guards[0].tolerance", "less than 1"),
    "bound from the wrong side": (
        swap('direction = "min", max = 2048.0', 'direction = "max", max = 2048.0'), "guards[1].max", "means nothing"),
    "no endpoint": (swap("/v1/completions", "v1 completions"), "endpoints[0].path", "not a URL path"),
    "endpoint that takes no text": (swap("/v1/completions", "/v2/x"), "endpoints[0].path", "cannot carry a text"),
    "unknown request field": (swap('"ignore_eos"', '"ignoreeos"'), "endpoints[0].fields[3]", "did you mean 'ignore_eos'"),
    "field that the load needs": (swap('"ignore_eos", ', ""), "endpoints[0].fields", "needs 'ignore_eos'"),
    "model outside": (swap('path = "reference/model"', 'path = "../model"'), "model.path", "not a plain path"),
    "absolute model": (swap('path = "reference/model"', 'path = "/etc"'), "model.path", "not a plain path"),
    "model that is not there": (swap('path = "reference/model"', 'path = "ref"'), "model.path", "there is no folder"),
    "bundled without a path": (swap('path = "reference/model"\n', ""), "model.path", "is missing"),
    "bundled without a digest": (swap("sha256 =", "# sha256 ="), "model.sha256", "is missing"),
    "digest that is none": (swap('sha256 = "', 'sha256 = "xyz'), "model.sha256", "not a SHA-256"),
    "hub without a commit": (
        swap('source = "bundled"\npath = "reference/model"', 'source = "hub"\nhub = { id = "a/b", revision = "main" }'),
        "model.hub",
        "40 hexadecimal digits",
    ),
    "another architecture": (swap('architecture = "llama"', 'architecture = "qwen3"'), "model.architecture", "'llama'"),
    "longer than the model": (swap("max_context = 2048", "max_context = 4096"), "model.max_context", "allows 2048"),
    "other format": (swap('format = "safetensors"', 'format = "gguf"'), "model.format", "holds no .gguf"),
    "unknown format": (swap('format = "safetensors"', 'format = "pickle"'), "model.format", '"pickle" is not known'),
    "no command": (swap('command = ["{python}", "-m", "server"]', "command = []"), "serve.command", "at least 1"),
    "shell line": (swap('["{python}", "-m", "server"]', '"python -m server"'), "serve.command", "valid array"),
    "unknown placeholder": (swap("{python}", "{pyhton}"), "serve.command[0]", "did you mean 'python'"),
    "engine's own variable": (swap("[serve]", '[serve]\nenv = { PORT = "80" }'), "serve.env.PORT", "set by the engine"),
    "a secret": (swap("[serve]", '[serve]\nenv = { HF_TOKEN = "hf_x" }'), "serve.env.HF_TOKEN", "looks like a secret"),
    "negative time-out": (swap("ready = 120", "ready = -1"), "serve.timeout_s.ready", "greater than 0"),
    "unknown workload": (swap('kind = "chat"', 'kind = "chats"'), "workload.kind", "did you mean 'chat'"),
    "workload without a corpus": (swap('corpus = "benchmark/corpus.jsonl"\n', ""), "workload.corpus", "is missing"),
    "corpus that is not there": (swap("corpus.jsonl", "corpse.jsonl"), "workload.corpus", "there is no file"),
    "lengths upside down": (swap("min = 48, max = 199", "min = 199, max = 48"), "workload.prompt_tokens.min", "larger"),
    "unknown distribution": (
        swap('dist = "uniform"', 'dist = "uniforme"'), "workload.prompt_tokens.dist", "did you mean 'uniform'"),
    "longer than the context": (swap("max = 199", "max = 1999"), "workload", "reach 2063 tokens"),
    "option of another kind": (
        swap("public_draw = 7", "public_draw = 7\noptions = { steps = 4 }"), "workload.options.steps", "no option of"),
    "image target for text": (swap('modality = "text_generation"', 'modality = "image_generation"'), "modality", "chat"),
    "unknown class": (swap('class = "exact"', 'class = "exacte"'), "accuracy.class", "did you mean 'exact'"),
    "share above one": (swap("timed_share = 0.15", "timed_share = 15"), "accuracy.timed_share", "less than or equal to 1"),
    "negative limit": (swap("error_budget", "limits = { max = -1.0 }\nerror_budget"), "accuracy.limits.max", "greater"),
    "benchmark for a built-in load": (
        at_end('[programs]\nbenchmark = { command = ["x"] }'), "programs.benchmark", 'workload.kind = "program"'),
    "unknown program placeholder": (
        at_end('[programs]\nchecker = { command = ["c", "{uri}"] }'), "programs.checker.command[1]", "did you mean 'url'"),
    "override for a stranger": (at_end("[backend.rocm]\ngoal_speedup = 2.0"), "backend.rocm", "not among the target's"),
    "override of the name": (at_end('[backend.cuda]\nname = "x"'), "backend.cuda.name", "cannot differ"),
    "wrong override": (at_end('[backend.cuda]\naccuracy.class = "exactly"'), "backend.cuda.accuracy.class", "'exact'"),
    "override that contradicts": (
        at_end("[backend.cuda]\nworkload.prompt_tokens.max = 1999"), "backend.cuda.workload", "reach 2063 tokens"),
    "reference without a class": (swap("reference.py:Reference", "reference.py"), "reference", "names no class"),
    "class that is not there": (swap("reference.py:Reference", "reference.py:Referenz"), "reference", "'Reference'"),
    "seed that is not there": (swap('seed = "seed"', 'seed = "sead"'), "seed", "missing or empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_declaration_is_one_line_with_file_field_and_exit_code_two(tmp_path: Path, case: str) -> None:
    edit, field, what = MALFORMED[case]
    root = write_target(tmp_path, edit)
    with pytest.raises(TargetError) as caught:
        load_target(root)
    place = f"{root / 'target.toml'}: {field}" if field else str(root / "target.toml")
    assert caught.value.where.startswith(place)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


TEXT = """\
schema = 1
levels = [
  { id = "a" },   # a row
  { id = "b" },
]
[serve]
timeout_s = { ready = 1 }
[backend.cuda]
accuracy.class = "exact"
[[thing]]
x = 1
[[thing]]
x = 2
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("schema", 1),
        ("levels", 2),
        ("levels[0].mode", 3),
        ("levels[1].id", 4),
        ("serve.command", 6),
        ("serve.timeout_s.ready", 7),
        ("backend.cuda.accuracy.class", 9),
        ("backend.cuda.goal", 8),
        ("thing[1].x", 13),
        ("title", None),
    ],
)
def test_a_fault_names_the_line_of_its_field_or_of_what_is_around_it(field: str, line: int | None) -> None:
    assert line_of(TEXT, field) == line


HOSTILE = {
    "one endless dotted key": "a" + ".a" * 500_000 + " = 1\n",
    "half a million brackets": "x = " + "[" * 500_000 + "\n",
    "nested inline tables": "x = " + "{a=" * 300_000 + "\n",
    "seventy thousand keys": "".join(f"k{number} = 1\n" for number in range(70_000)),
    "seventy thousand tables": "".join(f"[t{number}]\n" for number in range(70_000)),
    "a megabyte of text": 'x = "' + "y" * 1_000_000 + '"\n',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_costs_little_time_and_one_line(tmp_path: Path, case: str) -> None:
    root = write_target(tmp_path, lambda text: HOSTILE[case] + text)
    started = time.process_time()
    with pytest.raises(TargetError) as caught:
        load_target(root)
    assert time.process_time() - started < 5  # quadratic parsing took minutes
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_a_key_cannot_send_control_characters_to_a_terminal(tmp_path: Path) -> None:
    root = write_target(tmp_path, at_top(r'"\u001b]0;owned\u0007" = 1'))
    with pytest.raises(TargetError) as caught:
        load_target(root)
    assert str(caught.value).isprintable()


def test_all_faults_of_a_file_are_reported_together(tmp_path: Path) -> None:
    edits = [swap("title =", "titel ="), swap("concurrency = 16", "concurrency = 0"), swap('"closed"', '"close"')]
    root = write_target(tmp_path, lambda text: edits[2](edits[1](edits[0](text))))
    fields = {fault.where.split(": ")[1].split(" ")[0] for fault in target_faults(root)}
    assert fields == {"titel", "title", "levels[0].mode", "levels[1].concurrency"}


def test_a_sound_target_has_no_faults(tmp_path: Path) -> None:
    assert target_faults(write_target(tmp_path)) == []


def test_a_missing_or_empty_objective_is_named(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    (root / "OBJECTIVE.md").write_text(" \n")
    with pytest.raises(TargetError, match=r"OBJECTIVE\.md beside it is empty"):
        load_target(root)
    (root / "OBJECTIVE.md").unlink()
    with pytest.raises(TargetError, match=r"OBJECTIVE\.md is missing"):
        load_target(root)


def test_a_trace_of_fewer_times_than_requests_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    root = write_target(
        tmp_path, swap('mode = "closed", concurrency = 1,', 'mode = "trace", file = "benchmark/times.jsonl",')
    )
    trace = root / "benchmark" / "times.jsonl"
    for lines, fault in ((None, "there is no file"), (15, "has 15 times for 16 requests")):
        if lines is not None:
            trace.write_text('{"at_s": 0.5}\n' * lines)
        with pytest.raises(TargetError, match=fault) as caught:
            load_target(root)
        assert caught.value.where.startswith(f"{root / 'target.toml'}: levels[0].file")
    trace.write_text('{"at_s": 0.5}\n' * 15 + '{"at_s": 0.5}')
    load_target(root)


def test_a_folder_without_declaration_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"target\.toml: cannot be read"):
        load_target(tmp_path)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt"])
def test_pickled_weights_are_refused_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    root = write_target(tmp_path)
    (root / "reference" / "model" / f"weights{suffix}").write_bytes(b"")
    with pytest.raises(TargetError, match="is a pickle"):
        load_target(root)


@pytest.mark.parametrize("magic", [b"\x80\x02}q\x00.", b"\x80\x04K\x01.", b"PK\x03\x04rest"])
def test_pickled_weights_are_refused_by_their_magic_under_any_name(tmp_path: Path, magic: bytes) -> None:
    root = write_target(tmp_path)
    (root / "reference" / "model" / "weights.dat").write_bytes(magic)
    with pytest.raises(TargetError, match=r"weights\.dat is a pickle"):
        load_target(root)


def test_a_safetensors_file_whose_header_length_looks_like_a_pickle_is_accepted(tmp_path: Path) -> None:
    content = safetensors({"embed": ("BF16", [2, 2], bytes(8))})
    padding = 640 - int.from_bytes(content[:8], "little")
    content = (640).to_bytes(8, "little") + content[8:-8] + b" " * padding + content[-8:]
    assert content.startswith(b"\x80\x02")
    root = write_target(tmp_path)
    (root / "reference" / "model" / "model.safetensors").write_bytes(content)
    faults = target_faults(root)
    assert ["the files have digest" in fault.what for fault in faults] == [True]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02pickle", (1 << 40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]",
     (4).to_bytes(8, "little") + b"{{{{", safetensors({"a": ("BF16", [3, 3], bytes(8))})],
    ids=["empty", "pickle", "huge header", "no table", "no json", "shape beyond the data"],
)  # fmt: skip
def test_weights_that_are_not_what_their_header_says_are_refused(tmp_path: Path, content: bytes) -> None:
    root = write_target(tmp_path)
    (root / "reference" / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(TargetError, match="is not a safetensors file"):
        load_target(root)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    weights = root / "reference" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(TargetError, match="the files have digest"):
        load_target(root)


def test_links_devices_and_odd_names_are_refused_with_their_path(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    odd = root / "benchmark" / "odd"
    odd.symlink_to("/etc/passwd")
    with pytest.raises(TargetError, match="odd: is a link"):
        load_target(root)
    odd.unlink()
    odd.symlink_to("/etc")
    with pytest.raises(TargetError, match="odd: is a link to a folder"):
        load_target(root)
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(TargetError, match="odd: is not a regular file"):
        load_target(root)
    odd.unlink()
    (root / "benchmark" / "a\nb").write_text("")
    with pytest.raises(TargetError, match="is refused"):
        load_target(root)


def test_a_declaration_of_more_than_a_mebibyte_is_not_parsed(tmp_path: Path) -> None:
    root = write_target(tmp_path, lambda text: text + "#" * (1 << 20))
    with pytest.raises(TargetError, match="is larger than 1,048,576 bytes"):
        load_target(root)


def test_a_declaration_that_is_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    (root / "target.toml").unlink()
    os.mkfifo(root / "target.toml")
    with pytest.raises(TargetError, match="is not a regular file"):
        load_target(root)


def test_a_declaration_in_another_encoding_is_refused(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    (root / "target.toml").write_bytes("title = 'é'".encode("latin-1"))
    with pytest.raises(TargetError, match=r"is not UTF-8 \(byte 9\)"):
        load_target(root)


def test_a_bundled_model_cannot_be_replaced_by_an_option(tmp_path: Path) -> None:
    root = write_target(tmp_path)
    with pytest.raises(TargetError, match=r"leave out --model"):
        load_target(root, model=tmp_path)


def test_weights_that_are_not_in_the_hub_cache_are_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0" * 40
    edit = swap(
        'source = "bundled"\npath = "reference/model"', f'source = "hub"\nhub = {{ id = "a/b", revision = "{commit}" }}'
    )
    root = write_target(tmp_path, edit)
    with pytest.raises(TargetError, match=r"not in the local cache .*hf download a/b"):
        load_target(root)
    cached = tmp_path / "hub" / "models--a--b" / "snapshots" / commit
    cached.parent.mkdir(parents=True)
    (root / "reference" / "model").rename(cached)
    assert load_target(root).model_dir == cached
