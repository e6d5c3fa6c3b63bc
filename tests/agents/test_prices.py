"""Prices: those of the table, to the cent, with its tiers; an unknown price stays unknown."""

from __future__ import annotations

import pytest
from genai_prices import Usage, calc_price

from vibeserve_tui.agents.loop.prices import FREE, cost, own_rates, with_prices
from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.events import VoiceSettings
from vibeserve_tui.inputs.config import Price

MODELS = [
    ("claude-sonnet-5-5", "anthropic"),
    ("claude-haiku-5-5", "anthropic"),
    ("gpt-5.5", "openai"),
    ("gpt-5.6-sol", "openai"),
]
USES = {
    "plain": Tokens(input=1000, output=200),
    "cached": Tokens(input=100, cache_read=50_000, cache_write=2_000, output=700, reasoning=600),
    "long": Tokens(input=20_000, cache_read=400_000, cache_write=10_000, output=5_000),
    "at a tier's edge": Tokens(input=100_000, output=1),
    "beyond it": Tokens(input=100_001, output=1),
}


@pytest.mark.parametrize("tokens", USES.values(), ids=USES)
@pytest.mark.parametrize(("model", "seller"), MODELS)
def test_a_turn_costs_what_the_table_says(model: str, seller: str, tokens: Tokens) -> None:
    """The table counts cached tokens within the input; our buckets do not overlap."""
    voice = with_prices(VoiceSettings(model=model), sold_by=seller)
    usage = Usage(
        input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output,
    )
    expected = float(calc_price(usage, model, provider_id=seller).total_price)
    assert cost(voice.prices, model, tokens) == pytest.approx(expected, rel=1e-9)
    assert voice.context and voice.prices[model].source.startswith("genai-prices")


def test_an_unknown_model_and_an_unknown_server_have_no_price() -> None:
    voice = with_prices(VoiceSettings(model="my-own-7b", fallback_models=("claude-opus-5-5",)), sold_by="anthropic")
    assert set(voice.prices) == {"claude-opus-5-5"}
    assert cost(voice.prices, "my-own-7b", USES["plain"]) is None
    elsewhere = with_prices(VoiceSettings(model="gpt-5.5", base_url="http://127.0.0.1:8080/v1"), sold_by="openai")
    assert elsewhere.prices == {}


def test_the_operators_own_price_counts_cached_tokens_as_others_unless_it_says_otherwise() -> None:
    rates = own_rates(Price(input=2.0, output=4.0, cache_read=0.5))
    tokens = Tokens(input=1_000_000, cache_read=1_000_000, cache_write=1_000_000, output=1_000_000)
    assert cost({"m": rates}, "m", tokens) == pytest.approx(2.0 + 0.5 + 2.0 + 4.0)
    assert cost({"": FREE}, "", tokens) == 0.0


def test_a_conversation_must_fit_every_model_that_it_may_be_handed_on_to() -> None:
    voice = with_prices(
        VoiceSettings(model="claude-sonnet-5-5", fallback_models=("claude-haiku-4-5",)), sold_by="anthropic"
    )
    alone = with_prices(VoiceSettings(model="claude-haiku-4-5"), sold_by="anthropic")
    assert voice.context == alone.context
