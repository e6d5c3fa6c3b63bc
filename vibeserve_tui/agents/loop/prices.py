"""What models cost: looked up once, when a run is ordered, and written into the order.

A model that nobody knows a price for has none: it is never taken to be free. The table is a package that works without a
network; the operator's own `[prices]` win over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING

from vibeserve_tui.agents.protocol import Tokens
from vibeserve_tui.events import Rate, Rates, VoiceSettings
from vibeserve_tui.inputs.config import Price

if TYPE_CHECKING:  # the table takes a while to load, and a run's engine never needs it
    from genai_prices.types import ModelPrice, TieredPrices

PER = 1_000_000
FREE = Rates(input=0, output=0, cache_read=0, cache_write=0, source="computed here")
"""For what runs in this process and on nobody's bill."""


def cost(prices: Mapping[str, Rates], model: str, tokens: Tokens) -> float | None:
    """USD, or None when the model's price is not known."""
    rates = prices.get(model)
    if rates is None:
        return None
    given = tokens.input + tokens.cache_read + tokens.cache_write
    rate: Rate = rates
    for step in rates.steps:
        if given > step.above:
            rate = step
    return (
        tokens.input * rate.input
        + tokens.cache_read * rate.cache_read
        + tokens.cache_write * rate.cache_write
        + tokens.output * rate.output
    ) / PER


def own_rates(price: Price) -> Rates:
    """As the operator wrote them; cached tokens cost what others do unless it says otherwise."""
    return Rates(
        input=price.input,
        output=price.output,
        cache_read=price.input if price.cache_read is None else price.cache_read,
        cache_write=price.input if price.cache_write is None else price.cache_write,
        source="the configuration",
    )


def with_prices(settings: VoiceSettings, *, sold_by: str = "") -> VoiceSettings:
    """The settings with the prices of their models, and the model's context where it is not set.

    `sold_by` is the seller as the table calls it; an own base_url means whoever answers there, and nobody else.
    """
    models = [model for model in (settings.model, *settings.fallback_models) if model]
    found = {model: known for model in models if (known := _look_up(model, sold_by, settings.base_url))}
    prices = {model: rates for model, (rates, _) in found.items()} | settings.prices
    contexts = [context for _, context in found.values() if context]
    # A conversation must fit every model that it may be handed on to.
    context = settings.context or (min(contexts) if contexts else None)
    return settings.model_copy(update={"prices": prices, "context": context})


def _look_up(model: str, sold_by: str, base_url: str) -> tuple[Rates, int | None] | None:
    from genai_prices.data_snapshot import get_snapshot

    seller = None if base_url else sold_by or None
    try:
        _, info = get_snapshot().find_provider_model(model, None, seller, base_url or None)
    except LookupError:
        return None
    rates = _rates(info.get_prices(datetime.now(tz=UTC)))
    return (rates, info.context_window) if rates else None


def _rates(price: ModelPrice) -> Rates | None:
    """The table's prices in our buckets; a bucket without a price of its own costs what plain input does."""
    from genai_prices.types import TieredPrices

    plain, made = price.input_mtok, price.output_mtok
    if plain is None or made is None:
        return None
    read, written = price.cache_read_mtok, price.cache_write_mtok
    buckets = {
        "input": plain,
        "output": made,
        "cache_read": plain if read is None else read,
        "cache_write": plain if written is None else written,
    }
    tiered = [value for value in buckets.values() if isinstance(value, TieredPrices)]
    starts = sorted({tier.start for value in tiered for tier in value.tiers})
    return Rates.model_validate(
        _at(buckets, 0)
        | {"steps": [_at(buckets, start + 1) | {"above": start} for start in starts]}
        | {"source": f"genai-prices {version('genai-prices')}"}
    )


def _at(buckets: Mapping[str, Decimal | TieredPrices], given: int) -> dict[str, object]:
    """The prices for a request of so many tokens of input: the last tier that it is beyond holds for all of them."""
    return {
        name: float(
            value
            if isinstance(value, Decimal)
            else ([value.base] + [t.price for t in value.tiers if given > t.start])[-1]
        )
        for name, value in buckets.items()
    }
