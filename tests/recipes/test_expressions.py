from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vibeserve_tui.recipes.expression_syntax import FUNCTIONS, MAX_CHARACTERS, NAMES, ExpressionError
from vibeserve_tui.recipes.expressions import Expression, Scope, Unknown, parse
from vibeserve_tui.recipes.facts import (
    ATTRIBUTES,
    DeviceFacts,
    Facts,
    HardwareFacts,
    ModelFacts,
    ProfileFacts,
    TargetFacts,
    WorkloadFacts,
)

FACTS = Facts(
    model=ModelFacts(attention="full", layers=5, recurrent_layers=0),
    workload=WorkloadFacts(p99_total_len=263, max_concurrency=16),
    hw=HardwareFacts(cores=2),
    device=DeviceFacts(capabilities=frozenset({"avx2", "avx512f"})),
    backend="cpu",
    profile=ProfileFacts(usable=True, shares={"kv_concat": 0.2}, hints=("python_overhead_bound",)),
    metrics={"output_throughput": 500.0},
    target=TargetFacts(forbids=frozenset({"quantisation"})),
    capabilities=frozenset({"engine.loop"}),
)
SCOPE = Scope(FACTS, params={"threads": 2}, counters={"steps": 7})


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("7 // 2 + 7 % 2", 4),
        ("-hw.cores", -2),
        ("ceil_pow2(workload.p99_total_len)", 512),
        ("ceil_pow2(512)", 512),
        ("ceil_pow2(0)", 1),
        ("floor_pow2(workload.p99_total_len)", 256),
        ("clamp(9, 1, hw.cores)", 2),
        ("min(1, 2) + max(3, 4) + abs(-1) + round(1.6) + ceil(1.2) + floor(1.8) + log2(8)", 14),
        ("has('avx2') or has('neon')", True),
        ("not forbids('quantisation')", False),
        ("provides('engine.loop')", True),
        ("share('kv_concat') > 0.05", True),
        ("counter('steps') > 0", True),
        ("counter('absent') > 0", False),
        ("backend == 'cpu' and model.attention in ('full', 'sliding')", True),
        ("'python_overhead_bound' in profile.hints", True),
        ("1 < hw.cores <= 2", True),
        ("'big' if model.layers > 4 else 'small'", "big"),
        ("params.threads * 2", 4),
        ("metrics.output_throughput / 2", 250.0),
    ],
)
def test_an_expression_has_the_value_its_words_say(source: str, value: object) -> None:
    assert parse(source).evaluate(SCOPE) == value


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("model.heads > 4", None),
        ("model.heads > 4 and model.layers > 100", False),
        ("model.heads > 4 or model.layers == 5", True),
        ("not model.heads", None),
        ("1 if model.heads > 4 else 2", None),
        ("max(model.heads, 3)", None),
        ("share('never_profiled') > 0.1", None),
    ],
)
def test_a_missing_fact_is_unknown_unless_the_answer_does_not_depend_on_it(source: str, answer: object) -> None:
    found = parse(source).evaluate(SCOPE)
    if answer is None:
        assert isinstance(found, Unknown)
        assert found.names & {"model.heads", "share('never_profiled')"}
    else:
        assert found == answer


def test_shares_of_a_perturbed_profile_are_unknown() -> None:
    scope = Scope(Facts(profile=ProfileFacts(usable=False, shares={"decode": 0.9})))
    assert isinstance(parse("share('decode')").evaluate(scope), Unknown)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("workload.max_totl_len > 1", "did you mean 'max_total_len'"),
        ("modle.layers", "did you mean 'model'"),
        ("ciel(1.5)", "did you mean 'ceil'"),
        ("model", "is a group"),
        ("clamp(1, 2)", "takes 3"),
        ("has(backend)", "one quoted word"),
        ("max()", "takes 1"),
        ("[1, 2]", "quoted words only"),
        ("2 ** 3", "not part of the language"),
        ("model.layers.real", "not part of the language"),
        ("(lambda: 1)()", "not part of the language"),
        ("[x for x in (1,)]", "not part of the language"),
        ("min(*profile.hints)", "not part of the language"),
        ("f'{backend}'", "not part of the language"),
        ("None", "not part of the language"),
        ("'\\x41'", "backslashes"),
        ("1 +", "not an expression"),
        ("x = 1", "not an expression"),
        ("1or 2 > 1", "not an expression"),
        ("", "not an expression"),
        ("\0", "not an expression"),
        ("1" * (MAX_CHARACTERS + 1), "at most"),
        ("-" * 20 + "1", "nested deeper"),
        (f"max({','.join(['1'] * 210)})", "at most 200"),
    ],
)
def test_what_is_not_in_the_language_is_refused_when_it_is_read(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "source",
    ["1 / 0", "log2(0)", "'a' + 1", "'a' < 'b'", "backend and 1", "not 3", "-backend", "1 in profile.hints",
     "9223372036854775807 * 9", "1e308 * 10", "99999999999999999999", "True + 1"],
)  # fmt: skip
def test_operands_that_do_not_fit_are_an_expression_error(source: str) -> None:
    with pytest.raises(ExpressionError):
        parse(source).evaluate(SCOPE)


def test_a_condition_must_answer_yes_or_no() -> None:
    with pytest.raises(ExpressionError, match="not yes or no"):
        parse("hw.cores").holds(SCOPE)


def test_an_expression_knows_the_parameters_and_capabilities_it_asks_for() -> None:
    found = parse("params.window > 1 and provides('engine.batching') and has('avx2')")
    assert found.params == {"window"}
    assert found.asked("provides") == {"engine.batching"}


_ATOMS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["True", "False", "'word'", "('a', 'b')", "backend", "params.threads", "params.absent"]),
    st.sampled_from([f"{group}.{name}" for group, names in ATTRIBUTES.items() for name in sorted(names)]),
    st.sampled_from([f"{ask}('x')" for ask in ("has", "share", "counter", "forbids", "provides")]),
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = ["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!=", "in", "not in", "and", "or"]
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda x: f"not {x}"),
        inner.map(lambda x: f"-{x}"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=3)).map(
            lambda t: f"{t[0]}({', '.join(t[1])})"
        ),
    )


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(st.recursive(_ATOMS, _grown, max_leaves=12))
def test_any_well_formed_expression_has_a_value_or_is_unknown_or_is_an_expression_error(source: str) -> None:
    try:
        answer = parse(source).evaluate(SCOPE)
    except ExpressionError:
        return
    assert isinstance(answer, bool | int | float | str | tuple | Unknown)
    if isinstance(answer, int | float):
        assert abs(answer) <= 2**63


@given(st.text(max_size=600))
def test_no_text_at_all_raises_anything_but_an_expression_error(source: str) -> None:
    with suppress(ExpressionError):
        parse(source).evaluate(SCOPE)


@given(st.text("()[]{}.,'\"+-*/%<>=!andorifels0123456789_xhw", max_size=120))
def test_no_mixture_of_the_languages_own_characters_hangs_or_escapes(source: str) -> None:
    with suppress(ExpressionError):
        parse(source).evaluate(SCOPE)


@given(st.sampled_from(sorted(NAMES | {"__builtins__", "ast", "os"})), st.text("abcdefgh_", min_size=1, max_size=12))
def test_no_attribute_outside_the_schema_is_ever_read(base: str, attribute: str) -> None:
    source = f"{base}.{attribute}"
    legal = base == "params" or attribute in ATTRIBUTES.get(base, ())
    try:
        found: Expression = parse(source)
    except ExpressionError:
        assert not legal or not attribute.isidentifier()
        return
    assert legal
    found.evaluate(SCOPE)


@pytest.mark.parametrize("attribute", ["__class__", "__dict__", "_before", "shares"])
def test_internals_of_the_facts_are_out_of_reach(attribute: str) -> None:
    for group in ATTRIBUTES:
        with pytest.raises(ExpressionError):
            parse(f"{group}.{attribute}")
