"""Price quotes of a real service, and the catalogue's estimates."""

from __future__ import annotations

import asyncio
import time

import pytest

from runapi_magic.core.request import Source
from runapi_magic.engine.backend import Price

pytestmark = pytest.mark.server

QUOTES = "/api/v1/price_quotes"
SOURCE = Source("a fox", "0" * 64)
CASES = [
    ("gpt-image-2", {}, 1, False, 0.06),
    ("gpt-image-2", {"output_resolution": "4k", "aspect_ratio": "3:2"}, 1, False, 0.16),
    ("gpt-image-2", {"output_resolution": "2k"}, 3, True, 0.30),
    ("gpt-image-2-text-to-image", {}, 1, False, 0.06),
    ("gpt-image-2-image-to-image", {"output_resolution": "2k"}, 1, True, 0.10),
    ("gpt-image-1.5", {"aspect_ratio": "1:1", "quality": "high"}, 2, False, 0.44),
    ("gpt-image-1.5", {"aspect_ratio": "1:1", "quality": "medium"}, 1, True, 0.04),
    ("gpt-4o-image", {"aspect_ratio": "1:1"}, 1, False, 0.06),
    ("gpt-4o-image", {"aspect_ratio": "1:1"}, 2, False, 0.07),
    ("gpt-4o-image", {"aspect_ratio": "1:1"}, 4, True, 0.08),
    ("gpt-4o-image", {"aspect_ratio": "1:1"}, 7, False, 0.08 + 0.07 + 0.06),
    ("flux-kontext-pro", {}, 1, False, 0.05),
    ("flux-kontext-max", {}, 1, True, 0.10),
    ("topaz-upscale-image", {"upscale_factor": 2}, 1, True, 0.10),
    ("topaz-upscale-image", {"upscale_factor": 4}, 1, True, 0.20),
    ("recraft-remove-background", {}, 1, True, 0.01),
    ("recraft-crisp-upscale", {}, 1, True, 0.01),
]


def _ask(session, model="gpt-image-2", fields=None, count=1, *, editing=False):
    sources = [SOURCE] if editing else []
    return session.service().price(
        session.request("a fox", model=model, count=count, sources=sources, **(fields or {}))
    )


@pytest.mark.parametrize("case", CASES)
def test_every_model(service, use, case):
    """The service quotes each model and number of images, and creates no task."""
    model, fields, count, editing, usd = case

    async def body(session):
        return await _ask(session, model, fields, count, editing=editing)

    price = use(service, body)
    assert (price.usd, price.is_quote) == (pytest.approx(usd), True)
    assert set(service.paths()) == {QUOTES}
    assert service.tasks == []
    assert [each["authorized"] for each in service.requests] == [True] * len(service.requests)


@pytest.mark.parametrize("case", CASES)
def test_the_quote_is_the_cost(service, use, case):
    """The images cost what the quote says."""
    model, fields, count, editing, usd = case

    async def body(session):
        made = await session.generate("a fox for the price")
        source = [Source("a fox", made.image.digest, path=made.image.path)] if editing else []
        request = session.request("a fox", model=model, count=count, sources=source, **fields)
        quoted = await session.service().price(request)
        return quoted, await session.start(request)

    quoted, generation = use(service, body)
    assert quoted.usd == pytest.approx(generation.cost) == pytest.approx(usd)


def test_prompts_share_a_quote(service, use):
    """Prompts with the same price need one quote request, even if it fails."""
    service.fault("quote=503")

    async def body(session):
        prompts = [session.request(f"a fox {n}") for n in range(1000)]
        prices = await session.service().prices(prompts)
        await session.service().prices(prompts)
        return set(prices)

    assert use(service, body) == {Price(0.06, is_quote=False)}
    assert service.paths() == [QUOTES]


def test_tasks_share_a_quote(service, use):
    """Ten images of one request need one quote request."""

    async def body(session):
        return await _ask(session, count=10)

    assert use(service, body).usd == pytest.approx(0.6)
    assert service.paths() == [QUOTES]


@pytest.mark.parametrize("fault", ["404", "405", "422", "500", "drop", "bad_json", "empty"])
def test_a_service_without_quotes(service, use, fault):
    """If the service gives no quote, the estimate of the catalogue comes soon."""
    service.fault(f"quote={fault}")

    async def body(session):
        begun = time.monotonic()
        return await _ask(session, "gpt-4o-image", {"aspect_ratio": "1:1"}, 3), begun

    price, begun = use(service, body)
    assert price == Price(pytest.approx(0.13), is_quote=False)
    assert time.monotonic() - begun < 30


def _quote(**changes):
    quote = {"pricing_status": "available", "currency": "USD", "reservation_amount_cents": 16}
    return {
        "price_quote": {name: value for name, value in (quote | changes).items() if value != ""}
    }


@pytest.mark.parametrize("answer", [{}, [], {"price_quote": {}}, {"price_quote": 5},
    *(_quote(reservation_amount_cents=cents) for cents in (None, "6", True, -1, float("inf"))),
    *(_quote(pricing_status=status) for status in ("unavailable", "priced", "pending", None, "")),
    _quote(currency="EUR")])  # fmt: skip
def test_responses_without_a_price(scripted, use, answer):
    """A response without a price is no quote."""
    server = scripted()
    server.answers[f"POST {QUOTES}"] = [(200, {}, answer)]

    async def body(session):
        return await _ask(session)

    assert use(server, body) == Price(0.06, is_quote=False)


@pytest.mark.parametrize(
    "answer", [_quote(), _quote(pricing_status="Available"), _quote(currency="")]
)
def test_responses_with_a_price(scripted, use, answer):
    """An available price is a quote, in upper or lower case."""
    server = scripted()
    server.answers[f"POST {QUOTES}"] = [(200, {}, answer)]

    async def body(session):
        return await _ask(session)

    assert use(server, body) == Price(0.16, is_quote=True)


def test_a_redirect_of_a_quote(scripted, use):
    """A quote request follows no redirect, so the key and the prompt stay here."""
    server, other = scripted(), scripted()
    server.answers[f"POST {QUOTES}"] = [(307, {"Location": f"{other.url}{QUOTES}"}, b"")]

    async def body(session):
        return await _ask(session)

    assert use(server, body) == Price(0.06, is_quote=False)
    assert other.seen == []


def test_an_unknown_price(service, use):
    """If neither the service nor the catalogue has a price, it is None."""

    async def body(session):
        return await _ask(session, "a-new-model")

    assert use(service, body) is None


def test_without_a_key(service, use):
    """A quote request without a key has no authorization header."""

    async def body(session):
        return await _ask(session), await _ask(session, "gpt-image-2.5-flare")

    assert use(service, body, key="") == (Price(0.06, is_quote=True), Price(0.06, is_quote=True))
    assert [each["authorized"] for each in service.requests] == [False, False]


@pytest.mark.parametrize(
    ("fields", "model", "usd"),
    [
        ({"model": "gpt-image-2", "output_resolution": "2k"}, None, 0.10),
        ({"model": "gpt-image-2", "output_resolution": "2k"}, "flux-kontext-pro", 0.05),
        ({"model": "flux-kontext-max"}, None, 0.10),
    ],
)
def test_the_price_of_an_edit(service, use, fields, model, usd):
    """The price of an edit button is the price of the edit that it makes."""

    async def body(session):
        fox = await session.generate("a fox", **fields)
        price = await session.edit_price(fox.image, model)
        edited = await session.revise(fox.image, "make it snow", model)
        return price, edited.cost

    price, cost = use(service, body)
    assert (price.usd, price.is_quote) == (pytest.approx(usd), True)
    assert cost == pytest.approx(usd)


def test_concurrent_quotes(service, use):
    """Concurrent quote requests all get the same price."""

    async def body(session):
        return await asyncio.gather(*(_ask(session) for _ in range(5)))

    assert {price.usd for price in use(service, body)} == {0.06}
