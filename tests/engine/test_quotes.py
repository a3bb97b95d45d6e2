"""Quotes: which are asked for, how many at a time, how long they and failures count."""

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


class Asked:
    """A service that quotes 6 cents, and notes what it is asked."""

    def __init__(self):
        self.tasks = []
        self.error = None

    async def ask(self, request, count):
        """Answer one question."""
        self.tasks.append((request, count))
        if self.error is not None:
            raise self.error
        return 0.06


@pytest.fixture
def asked():
    """The service that is asked."""
    return Asked()


@pytest.fixture
def clock(monkeypatch):
    """Let the time of the quotes pass by hand: ``clock[0]`` is now, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(quotes_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_prompts_of_one_price_are_one_question(asked):
    """A thousand prompts of one model and resolution are asked about once."""
    quotes = Quotes(asked.ask)
    prompts = [ImageRequest(f"fox {n}", "gpt-image-2") for n in range(1000)]
    asyncio.run(quotes.ask((prompt, 1) for prompt in prompts))
    assert len(asked.tasks) == 1
    assert {quotes.known(prompt, 1) for prompt in prompts} == {0.06}


def test_the_guides_name_is_the_same_price(asked):
    """The same model under its name in the guide is not asked about again."""
    quotes = Quotes(asked.ask)
    guide = ImageRequest("a fox", "gpt-image-2-text-to-image")
    asyncio.run(quotes.ask([(FOX, 1), (guide, 1)]))
    assert len(asked.tasks) == 1


def test_different_prices_are_asked_at_once():
    """No question waits for the answer to another: each comes only when all were asked."""

    async def body():
        all_there = asyncio.Barrier(3)

        async def ask(_request, count):
            await all_there.wait()
            return 0.01 * count

        quotes = Quotes(ask)
        await quotes.ask([(FOX, 1), (LARGE, 1), (OTHER, 2)])
        return [quotes.known(FOX, 1), quotes.known(LARGE, 1), quotes.known(OTHER, 2)]

    assert asyncio.run(body()) == [0.01, 0.01, 0.02]


def test_cells_that_ask_together_share_a_question(asked):
    """Five cells that want the same price at the same time ask once, and all learn it."""

    async def body():
        quotes = Quotes(asked.ask)
        await asyncio.gather(*(quotes.ask([(FOX, 1)]) for _ in range(5)))
        return quotes.known(FOX, 1)

    assert asyncio.run(body()) == 0.06
    assert len(asked.tasks) == 1


def test_a_cell_that_is_cancelled_leaves_the_question_to_others():
    """One of two cells stops waiting for a price; the other one gets it."""

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


def test_a_service_that_never_answers_is_waited_for_once(monkeypatch):
    """A question without an answer ends, and counts as failed for every later one."""
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


def test_waiting_is_bounded_to_5_seconds():
    """All ticks together are the 5 s that a cell may wait."""
    assert quotes_module._TICKS * quotes_module._TICK == 5.0


def test_a_failure_counts_for_a_minute(asked, clock):
    """A price endpoint that failed is asked again after a minute, not before."""
    quotes, asked.error = Quotes(asked.ask), ConnectionFailedError("gone")
    counts = []
    for clock[0] in (1000.0, 1059.0, 1061.0):
        asyncio.run(quotes.ask([(FOX, 1)]))
        counts.append(len(asked.tasks))
    assert counts == [1, 1, 2]
    assert quotes.known(FOX, 1) is None


def test_a_quote_counts_for_five_minutes(asked, clock):
    """A quote is asked for again after five minutes; where that fails it is known no more."""
    quotes = Quotes(asked.ask)
    seen = []
    for clock[0] in (1000.0, 1299.0, 1301.0, 1700.0):
        asked.error = ConnectionFailedError("gone") if clock[0] == 1700.0 else None
        asyncio.run(quotes.ask([(FOX, 1)]))
        seen.append((len(asked.tasks), quotes.known(FOX, 1)))
    assert seen == [(1, 0.06), (1, 0.06), (2, 0.06), (3, None)]


def test_another_loop_asks_for_itself():
    """A question that was left behind on another loop keeps nobody waiting on this one."""
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
