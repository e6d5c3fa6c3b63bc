"""What a client may rely on, from the seed's framework and from the front end that replaces it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.recipes_assets.candidates import CASES, MODEL, Server, build, served

CHAT = {"messages": [{"role": "user", "content": "Tell me a short story about Jack and a goat."}], "temperature": 0}


@pytest.fixture(scope="module", params=["composed", pytest.param("seed", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "composed":
        yield request.getfixturevalue("composed")
    else:
        with served(build(tmp_path_factory.mktemp("seed") / "tree", {})) as seed:
            yield seed


def test_health_tells_commit_dtype_and_counters(server: Server) -> None:
    server.complete("a", 2)
    health = server.health()
    assert (health["status"], health["commit"], health["dtype"]) == ("ready", "abc123", "float32")
    assert all(type(count) is int for count in health["counters"].values())
    assert health["counters"]["tokens"] > 0


def test_a_stream_has_one_token_to_a_block_and_the_text_of_the_ids(server: Server) -> None:
    case = CASES[0]
    body = {"prompt": case["prompt"], "max_tokens": 24, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    *blocks, usage = server.events("/v1/completions", {**body, "stream_options": {"include_usage": True}})
    choices = [block["choices"][0] for block in blocks]
    assert [choice["token_ids"] for choice in choices] == [[token] for token in case["output"]]
    assert [choice["finish_reason"] for choice in choices] == [None] * 23 + ["length"]
    text = "".join(choice["text"] for choice in choices)
    assert text == Tokenizer.from_file(str(MODEL / "tokenizer.json")).decode(case["output"])
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == len(case["prompt"])
    assert usage["usage"]["completion_tokens"] == 24


def test_whole_and_streamed_answers_agree(server: Server) -> None:
    for path, body in (
        ("/v1/chat/completions", {**CHAT, "max_tokens": 200}),
        ("/v1/completions", {"prompt": "def f(", "temperature": 0, "max_tokens": 9}),
    ):
        choice = server.call("POST", path, body)[1]["choices"][0]
        blocks = [block["choices"][0] for block in server.events(path, body)]
        pieces = [block["delta"]["content"] if "delta" in block else block["text"] for block in blocks]
        assert "".join(pieces) == (choice["message"]["content"] if "message" in choice else choice["text"])
        assert blocks[-1]["finish_reason"] == choice["finish_reason"]


def test_an_answer_ends_where_the_model_ends_it_and_the_end_is_not_counted(server: Server) -> None:
    answer = server.call("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 400, "return_token_ids": True})[1]
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert 2 not in choice["token_ids"]
    assert answer["usage"]["completion_tokens"] == len(choice["token_ids"])


def test_text_is_cut_before_a_stop_string_even_across_tokens(server: Server) -> None:
    full = server.call("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 30})[1]["choices"][0]["message"][
        "content"
    ]
    stop = full[17:25]
    answer = server.call("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 30, "stop": [stop, "\u2603"]})[1]
    assert answer["choices"][0]["message"]["content"] == full[: full.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    blocks = server.events("/v1/chat/completions", {**CHAT, "max_tokens": 30, "stop": stop})
    assert "".join(block["choices"][0]["delta"]["content"] for block in blocks) == full[: full.index(stop)]
    assert blocks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_seed_repeats_a_sample_and_another_one_changes_it(server: Server) -> None:
    body = {**CHAT, "temperature": 1.0, "max_tokens": 24}
    texts = [
        server.call("POST", "/v1/chat/completions", {**body, "seed": seed})[1]["choices"][0]["message"]["content"]
        for seed in (11, 11, -12)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[1]", None),
        (b"\xff\xfe", None),
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": [1, 1024]}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 2.5}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 2048}, "prompt"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "seed": 1.5}, "seed"),
        ({"prompt": "a", "stop": ["", "b"]}, "stop"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
        ({"prompt": "a", "stream_options": 3}, "stream_options"),
        ({"prompt": "a", "n": 2}, "n"),
        ({"prompt": "a", "logprobs": 3}, "logprobs"),
        ({"prompt": "a", "prediction": "text"}, "prediction"),
    ],
    ids=lambda value: (value.decode("latin-1") if isinstance(value, bytes) else json.dumps(value))[:40],
)
def test_a_bad_request_gets_an_error_object_and_the_server_lives(
    server: Server, body: object, param: str | None
) -> None:
    status, answer = server.call("POST", "/v1/completions", body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param
    assert server.health()["status"] == "ready"


@pytest.mark.parametrize("messages", [[], "hello", [{"role": "robot", "content": "a"}], [{"role": "user"}]], ids=str)
def test_bad_messages_are_refused(server: Server, messages: object) -> None:
    status, answer = server.call("POST", "/v1/chat/completions", {"messages": messages})
    assert (status, answer["error"]["param"]) == (400, "messages")


def test_unknown_places_and_methods_are_refused(server: Server) -> None:
    assert server.call("GET", "/nowhere")[0] == 404
    assert server.call("GET", "/v1/completions")[0] == 405
    assert server.call("POST", "/v1/completions", b"a" * (5 * 2**20))[0] == 413


def test_a_client_that_hangs_up_stops_its_answer(server: Server) -> None:
    connection = server.connect()
    body = {"prompt": "a", "max_tokens": 2000, "temperature": 0, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    connection.getresponse().read(500)
    connection.close()
    time.sleep(1)
    before = server.counter("tokens")
    time.sleep(0.3)
    assert server.counter("tokens") == before


def test_the_official_client_works(server: Server) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none")
    assert client.models.list().data[0].id == "model"
    messages: list[Any] = [{"role": "user", "content": "Tell me a short story about a goat."}]
    answer = client.chat.completions.create(model="model", max_tokens=20, temperature=0, messages=messages)
    chunks = client.chat.completions.create(model="model", max_tokens=20, temperature=0, messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.choices[0].message.content
    text = client.completions.create(model="model", prompt="def f(", max_tokens=5, temperature=0)
    assert text.usage is not None
    assert text.usage.completion_tokens == 5
