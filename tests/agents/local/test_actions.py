"""The grammar of actions: every reply of every role can be said in it, and it holds nothing an engine would choke on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, Field, JsonValue

from vibeserve_tui.agents import replies
from vibeserve_tui.agents.local.actions import LONGEST_COUNTED, grammar_of, instructions, read_action
from vibeserve_tui.agents.loop.turns import ToolSpec

SCHEMAS = [
    replies.RoundPlan, replies.ImplReport, replies.JudgeReport, replies.PerfReport, replies.MutationReport,
]  # fmt: skip


def grammar(*models: type[BaseModel]) -> dict[str, JsonValue]:
    return grammar_of([ToolSpec(model.__name__, "", model.model_json_schema()) for model in models])


def parts(schema: JsonValue) -> Iterator[dict[str, JsonValue]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


@pytest.mark.parametrize("model", SCHEMAS)
def test_every_reference_leads_somewhere(model: type[BaseModel]) -> None:
    whole = grammar(model, replies.ImplReport)
    for part in parts(whole):
        if isinstance(reference := part.get("$ref"), str):
            assert reference.removeprefix("#/$defs/") in whole["$defs"]


def test_definitions_of_two_tools_with_the_same_name_stay_apart() -> None:
    class Inner(BaseModel):
        a: int

    class One(BaseModel):
        inner: Inner

    first = One.model_json_schema()

    class Inner(BaseModel):  # noqa: F811 - the point of the test
        b: str

    class Two(BaseModel):
        inner: Inner

    whole = grammar_of([ToolSpec("one", "", first), ToolSpec("two", "", Two.model_json_schema())])
    assert set(whole["$defs"]) == {"one_Inner", "two_Inner"}
    assert "a" in whole["$defs"]["one_Inner"]["properties"]
    assert "b" in whole["$defs"]["two_Inner"]["properties"]


@pytest.mark.parametrize("model", SCHEMAS)
def test_nothing_is_left_that_would_make_a_grammar_huge_or_unknown(model: type[BaseModel]) -> None:
    for part in parts(grammar(model)):
        length = part.get("maxLength", 0)
        assert not isinstance(length, int) or length <= LONGEST_COUNTED
        if part.get("type") == "string" and "pattern" in part:
            assert re.fullmatch(r"\^.*\$", part["pattern"])


def test_a_pattern_for_a_part_of_a_text_is_left_to_whoever_carries_the_action_out() -> None:
    class Loose(BaseModel):
        name: str = Field(pattern="[a-z]+")

    args = grammar(Loose)["anyOf"][0]["properties"]["args"]
    assert args["properties"]["name"] == {"type": "string"}


def test_a_field_may_be_called_like_a_keyword() -> None:
    class Odd(BaseModel):
        pattern: str
        title: str

    args = grammar(Odd)["anyOf"][0]["properties"]["args"]
    assert set(args["properties"]) == {"pattern", "title"}


def test_an_action_is_read_back() -> None:
    action = read_action(json.dumps({"thought": "why", "tool": "write", "args": {"path": "ä.py"}}))
    assert action is not None
    assert (action.thought, action.tool, json.loads(action.arguments)) == ("why", "write", {"path": "ä.py"})


@pytest.mark.parametrize(
    "text", ["", "hello", "[]", '{"tool": 3}', '{"tool": "x", "args": []}', '{"tool": "x", "more": 1}']
)
def test_other_text_is_no_action(text: str) -> None:
    assert read_action(text) is None


def test_a_tool_is_told_in_few_words_and_without_losing_a_field_that_is_called_title() -> None:
    schema = replies.RoundPlan.model_json_schema()
    told = instructions([ToolSpec("submit", "Hand in.", schema)])
    shown = json.loads(told.partition("args: ")[2])
    assert list(shown["properties"]) == list(schema["properties"])
    assert "title" in shown["properties"] and "title" not in shown
    assert len(told) < len(json.dumps(schema))
