"""Price quotes: which are requested, how many at the same time, and how long they count."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from runapi_magic.core.request import ImageRequest
from runapi_magic.engine import quotes as quotes_module
from runapi_magic.engine.quotes import Quotes
from runapi_magic.errors import ConnectionFailedError

FOX = ImageRequest("a fox", "gpt-image-2")
LARGE = ImageRequest("a fox", "gpt-image-2", {"output_resolution": "2k"})
OTHER = ImageRequest("a fox", "flux-kontext-pro")


class _Service:
    """A service that quotes 6 cents, and records its quote requests."""

    def __init__(self):
        self.tasks = []
        self.error = None

    async def ask(self, request, count):
        """Return the next quote."""
        self.tasks.append((request, count))
        if self.error is not None:
            raise self.error
        return 0.06


@pytest.fixture
def service():
    """The service that receives the quote requests."""
    return _Service()


@pytest.fixture
def clock(monkeypatch):
    """The clock of the quotes, which the test sets: ``clock[0]`` is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(quotes_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_prompts_share_a_quote(service):
    """A thousand prompts with one model and resolution need one quote request."""
    quotes = Quotes(service.ask)
    prompts = [ImageRequest(f"fox {n}", "gpt-image-2") for n in range(1000)]
    asyncio.run(quotes.ask((prompt, 1) for prompt in prompts))
    assert len(service.tasks) == 1
    assert {quotes.known(prompt, 1) for prompt in prompts} == {0.06}


def test_the_guides_name_is_the_same_price(service):
    """A model under its name in the guide shares the quote."""
    quotes = Quotes(service.ask)
    guide = ImageRequest("a fox", "gpt-image-2-text-to-image")
    asyncio.run(quotes.ask([(FOX, 1), (guide, 1)]))
    assert len(service.tasks) == 1


def test_different_quotes_are_concurrent():
    """Quote requests for different prices are sent at the same time."""

    async def body():
        all_there = asyncio.Barrier(3)

        async def ask(_request, count):
            await all_there.wait()
            return 0.01 * count

        quotes = Quotes(ask)
        await quotes.ask([(FOX, 1), (LARGE, 1), (OTHER, 2)])
        return [quotes.known(FOX, 1), quotes.known(LARGE, 1), quotes.known(OTHER, 2)]

    assert asyncio.run(body()) == [0.01, 0.01, 0.02]


def test_concurrent_cells_share_a_quote(service):
    """Five cells that need the same price at the same time share one quote request."""

    async def body():
        quotes = Quotes(service.ask)
        await asyncio.gather(*(quotes.ask([(FOX, 1)]) for _ in range(5)))
        return quotes.known(FOX, 1)

    assert asyncio.run(body()) == 0.06
    assert len(service.tasks) == 1


def test_a_cancelled_cell():
    """If one of two cells stops waiting for a quote, the other one gets it."""

    async def body():
        answer, entered = asyncio.Event(), asyncio.Event()

        async def ask(*_):
            entered.set()
            await answer.wait()
            return 0.06

        quotes = Quotes(ask)
        first, second = (asyncio.ensure_future(quotes.ask([(FOX, 1)])) for _ in range(2))
        await entered.wait()
        first.cancel()
        answer.set()
        await second
        return quotes.known(FOX, 1)

    assert asyncio.run(body()) == 0.06


def test_a_service_that_never_answers(monkeypatch):
    """A quote request without a response times out once, and counts as failed after that."""
    monkeypatch.setattr(quotes_module, "_TICK", 0.001)
    questions = []

    async def ask(*task):
        questions.append(task)
        await asyncio.Event().wait()

    async def body():
        quotes = Quotes(ask)
        await quotes.ask([(FOX, 1), (LARGE, 1)])
        await quotes.ask([(FOX, 1), (LARGE, 1)])
        return quotes.known(FOX, 1)

    assert asyncio.run(body()) is None
    assert len(questions) == 2


def test_the_timeout():
    """All ticks together are the timeout of 5 s."""
    assert quotes_module._TICKS * quotes_module._TICK == 5.0


def test_a_failure_counts_for_a_minute(service, clock):
    """After a failure, the next quote request is sent after a minute."""
    quotes, service.error = Quotes(service.ask), ConnectionFailedError("gone")
    counts = []
    for clock[0] in (1000.0, 1059.0, 1061.0):
        asyncio.run(quotes.ask([(FOX, 1)]))
        counts.append(len(service.tasks))
    assert counts == [1, 1, 2]
    assert quotes.known(FOX, 1) is None


def test_a_quote_counts_for_five_minutes(service, clock):
    """A quote is requested again after five minutes; if that fails, there is no quote."""
    quotes = Quotes(service.ask)
    seen = []
    for clock[0] in (1000.0, 1299.0, 1301.0, 1700.0):
        service.error = ConnectionFailedError("gone") if clock[0] == 1700.0 else None
        asyncio.run(quotes.ask([(FOX, 1)]))
        seen.append((len(service.tasks), quotes.known(FOX, 1)))
    assert seen == [(1, 0.06), (1, 0.06), (2, 0.06), (3, None)]


def test_another_loop():
    """A quote request on another loop does not delay this loop."""
    left = asyncio.new_event_loop()

    async def ask(*_):
        if asyncio.get_running_loop() is left:
            await asyncio.Event().wait()
        return 0.06

    async def begin(quotes):
        waiting = asyncio.ensure_future(quotes.ask([(FOX, 1)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return {waiting, *asyncio.all_tasks()} - {asyncio.current_task()}

    quotes = Quotes(ask)
    waiting = left.run_until_complete(begin(quotes))
    asyncio.run(quotes.ask([(FOX, 1)]))
    for task in waiting:
        task.cancel()
    left.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
    left.close()
    assert quotes.known(FOX, 1) == 0.06
