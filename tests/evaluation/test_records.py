from __future__ import annotations

import json

import pytest

from vibeserve_tui.evaluation.records import MAX_LINE, MAX_STREAM, Declared, Stream, StreamVoid, read_stream

SPEED = {"unit": "tok/s", "direction": "max"}
DECLARED = Declared({"speed": ("tok/s", "max")}, ("c1", "c16"))
HELLO = {"kind": "hello", "protocol": 3, "role": "benchmark", "metrics": {"speed": SPEED}}
CHECKER = {"kind": "hello", "protocol": 3, "role": "checker"}
RESULT = {"kind": "result", "label": "c1", "values": {"speed": 231.5}}
PASS = {"kind": "result", "verdict": "pass"}


def lines(*records: object) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def read(*records: object) -> Stream:
    return read_stream(lines(*records), "benchmark", DECLARED)


def code_of(content: bytes, role: str = "benchmark") -> str:
    with pytest.raises(StreamVoid) as caught:
        read_stream(content, role, DECLARED)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{caught.value.code}: ")
    return caught.value.code


def test_a_benchmark_says_hello_and_then_one_result_per_level() -> None:
    sample = {"kind": "sample", "level": "c1", "request": 4, "ttft_ms": 12.5, "output_tokens": 64}
    stream = read(HELLO, sample, RESULT, {"kind": "result", "label": "c16", "values": {"speed": 900}})
    assert stream.values("c1") == {"speed": 231.5}
    assert stream.values("c16") == {"speed": 900.0}
    assert stream.samples[0].ttft_ms == 12.5


def test_what_is_reported_for_no_level_holds_for_all() -> None:
    assert read(HELLO, {"kind": "result", "values": {"speed": 3.0}}).values("c16") == {"speed": 3.0}


def test_a_checker_gives_checks_and_one_verdict() -> None:
    check = {"kind": "check", "id": "greedy-17", "passed": False, "detail": "token 12"}
    stream = read_stream(lines(CHECKER, check, {"kind": "result", "verdict": "fail"}), "checker", DECLARED)
    assert (stream.verdict, stream.checks[0].id) == ("fail", "greedy-17")


OLD_HELLO = {"kind": "hello", "protocol": 2, "metrics": {"speed": {"unit": "tokens/s"}, "p99-ms": {"required": False}}}


def test_the_original_s_hello_names_no_role_and_its_units_are_for_people() -> None:
    beside = {"unit": "tok/s", "artifacts": {"sweep": [{"clients": 8}]}, "metadata": {"clients": 8}}
    told = {"kind": "result", "label": "", "values": {"speed": 231.5}, **beside}
    assert read(OLD_HELLO, told).values("c1") == {"speed": 231.5}


def test_the_original_s_error_needs_no_hello_and_ends_its_stream() -> None:
    error = {"kind": "error", "message": "not ready within 300 s", "partial": {"name": "warm", "value": 1.0}}
    for records in ((error,), (error, {"kind": "result", "values": {"speed": 1}}), (OLD_HELLO, error, OLD_HELLO)):
        with pytest.raises(StreamVoid, match="not ready within 300 s"):
            read(*records)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (lines({**OLD_HELLO, "role": "checker"}, RESULT), "INVALID_RECORD"),
        (lines({**OLD_HELLO, "metrics": {"speed": {"direction": "min"}}}, RESULT), "DIRECTION_MISMATCH"),
        (lines(OLD_HELLO, {**RESULT, "label": ""}, {**RESULT, "label": ""}), "INVALID_RECORD"),
        (lines({key: value for key, value in HELLO.items() if key != "role"}, RESULT), "INVALID_RECORD"),
        (lines({**HELLO, "metrics": {"speed": {"direction": "max"}}}, RESULT), "INVALID_RECORD"),
        (b"", "MISSING_HELLO"),
        (lines({"kind": "check", "id": "a", "passed": True}, HELLO), "HELLO_NOT_FIRST"),
        (lines(RESULT), "MISSING_HELLO"),
        (lines({"kind": "error", "message": ""}), "INVALID_RECORD"),
        (lines(HELLO, HELLO, RESULT), "DUPLICATE_HELLO"),
        (lines({**HELLO, "protocol": 9}, RESULT), "UNSUPPORTED_PROTOCOL"),
        (lines({**HELLO, "metrics": {}}, RESULT), "EMPTY_METRICS"),
        (lines(HELLO, {**RESULT, "values": {"speed": 1, "other": 2}}), "UNKNOWN_METRIC"),
        (lines(HELLO, {**RESULT, "values": {}}), "MISSING_METRIC"),
        (lines(HELLO, {**RESULT, "values": {"speed": None}}), "MISSING_METRIC"),
        (lines(HELLO, {**RESULT, "values": {"speed": "fast"}}), "NON_NUMERIC_VALUE"),
        (lines(HELLO, {**RESULT, "values": {"speed": True}}), "NON_NUMERIC_VALUE"),
        (b'{"kind": "result", "values": {"speed": NaN}}', "NON_FINITE_VALUE"),
        (b'{"kind": "result", "values": {"speed": Infinity}}', "NON_FINITE_VALUE"),
        (lines(HELLO, {**RESULT, "values": {"spe ed": 1}}), "INVALID_METRIC_NAME"),
        (lines({"kind": "greeting"}), "UNKNOWN_KIND"),
        (lines(HELLO, {**RESULT, "note": "x"}), "UNKNOWN_KEY"),
        (b'{"kind": "hel', "MALFORMED_LINE"),
        (b"[1, 2]", "MALFORMED_LINE"),
        (lines(HELLO, {"kind": "sample", "request": "first"}), "INVALID_RECORD"),
        (lines(CHECKER, PASS), "INVALID_RECORD"),
        (lines(HELLO, {**RESULT, "verdict": "pass"}), "INVALID_RECORD"),
        (lines(HELLO), "NO_OUTCOME"),
        (lines(HELLO, {**RESULT, "label": "c2"}), "UNSUPPORTED_LABEL"),
        (lines(HELLO, RESULT, RESULT), "DUPLICATE_LABEL"),
        (lines({**HELLO, "metrics": {"speed": {**SPEED, "direction": "min"}}}, RESULT), "DIRECTION_MISMATCH"),
        (lines({**HELLO, "metrics": {"speed": {**SPEED, "unit": "req/s"}}}, RESULT), "DIRECTION_MISMATCH"),
        (lines(HELLO, {"kind": "error", "message": "x"}, RESULT), "CONTRADICTION"),
        (b'{"kind": "' + b"x" * MAX_LINE + b'"}', "TOO_LARGE"),
        (b"\n" * (MAX_STREAM + 1), "TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stream_that_breaks_a_rule_is_void_with_its_reason(content: bytes, code: str) -> None:
    assert code_of(content) == code


def test_a_checker_gives_one_result_with_a_verdict() -> None:
    assert code_of(lines(CHECKER, PASS, {**PASS, "label": "c1"}), "checker") == "DUPLICATE_LABEL"
    assert code_of(lines(CHECKER, {"kind": "result"}), "checker") == "INVALID_RECORD"


def test_an_error_is_void_and_says_whether_to_try_again() -> None:
    with pytest.raises(StreamVoid, match="data set missing") as caught:
        read(HELLO, {"kind": "error", "message": "data set missing", "retryable": True})
    assert caught.value.retryable
