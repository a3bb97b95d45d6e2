"""The cost of requests before they are sent."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.engine.pricing import Cost
from tests.engine.money import wait_until

pytestmark = pytest.mark.server

_CACHED = "of them cached or already running"


def test_quotes_are_summed(run, service):
    """The cost of different requests is the sum of the service's quotes."""

    async def body(session):
        requests = [
            session.request("a boat"),
            session.request("a boat", output_resolution="2k", count=3),
            session.request("a boat", model="flux-kontext-pro"),
        ]
        return await session.cost(requests)

    assert run(service, body) == Cost(5, 5, pytest.approx(0.06 + 0.30 + 0.05), is_quote=True)
    assert service.tasks == []


def test_without_quotes_it_is_an_estimate(run, service):
    """If a quote is missing, the catalogue's price is used, and the cost is an estimate."""
    service.fault("quote=404,skip=1")

    async def body(session):
        fields = [{}, {"output_resolution": "2k"}]
        return await session.cost([session.request("a boat", **each) for each in fields])

    cost = run(service, body)
    assert cost == Cost(2, 2, pytest.approx(0.16), is_quote=False)
    assert str(cost) == "2 images: $0.16 (estimate)"


def test_one_unknown_price_makes_the_cost_unknown(run, service):
    """The cost of requests is unknown if one of them has no known price."""
    service.fault("quote=404")

    async def body(session):
        requests = [
            session.request("a boat"),
            session.request("a boat", model="gpt-image-2.5-flare"),
        ]
        return await session.cost(requests)

    cost = run(service, body)
    assert (cost.new, cost.usd) == (2, None)
    assert str(cost) == "2 images: price not known"


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(1, 1, 0.06, is_quote=True), "1 image: $0.06 (quoted)"),
        (Cost(3, 0, 0.0, is_quote=True), f"3 images, 3 {_CACHED}: nothing to pay"),
        (Cost(3, 1, None, is_quote=False), f"3 images, 2 {_CACHED}: price not known"),
    ],
)
def test_a_cost_in_words(cost, words):
    """The text of a cost has the number of images, the free ones, and the price of the rest."""
    assert str(cost) == words


def test_images_on_disk_are_free(run, service):
    """Images on disk cost nothing, unless they are older than ``since``, or it is None."""

    async def body(session):
        boats = await session.generate("a boat", count=2)
        requests = [session.request("a boat", count=3), session.request("a tree")]
        after = boats.image.created + 60
        return [
            await session.cost(requests),
            await session.cost(requests, since=after),
            await session.cost(requests, since=None),
        ]

    assert run(service, body) == [
        Cost(4, 2, pytest.approx(0.12), is_quote=True),
        Cost(4, 4, pytest.approx(0.24), is_quote=True),
        Cost(4, 4, pytest.approx(0.24), is_quote=True),
    ]


def test_running_tasks_are_free(run, slow):
    """An image that another cell is generating costs nothing."""

    async def body(session):
        first = session.generate("a boat")
        await asyncio.to_thread(wait_until, lambda: slow.tasks)
        cost = await session.cost([session.request("a boat")])
        await first
        return cost

    assert run(slow, body) == Cost(1, 0, 0, is_quote=True)


def test_identical_requests_share_images_on_disk(run, service):
    """Three identical requests with one image on disk cost two images."""

    async def body(session):
        await session.generate("a boat")
        return await session.cost([session.request("a boat")] * 3)

    assert run(service, body) == Cost(3, 2, pytest.approx(0.12), is_quote=True)


def test_without_reuse_nothing_is_free(run, service):
    """With ``reuse`` off, an image on disk costs again."""

    async def body(session):
        await session.generate("a boat")
        return await session.cost([session.request("a boat")])

    assert run(service, body, reuse=False).new == 1
