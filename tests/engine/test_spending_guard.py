"""The maximum cost of a cell, and requests that need confirmation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.errors import BudgetError, MissingKeyError, RunAPIError
from runapi_magic.notebook.api import generate_many
from tests.engine.money import NOT_SENT, refused

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("fields", "limit", "is_sent"),
    [
        ({"output_resolution": "2k", "count": 3}, 0.30, True),
        ({"output_resolution": "2k", "count": 3}, 0.29, False),
        ({"count": 1}, 0.0, False),
        ({"count": 1}, 0.06, True),
        ({"count": 1}, float("nan"), False),
    ],
)
def test_max_cost(run, service, fields, limit, is_sent):
    """``--max-cost`` refuses requests that cost more, and allows requests that cost as much."""
    count = fields["count"]

    async def body(session):
        requests = [session.request("a boat", **fields)]
        gate = gate_for(session, requests, max_cost=limit)
        generation = session.start(requests[0], gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body)
    assert [len(generation.images), len(service.tasks)] == ([count] * 2 if is_sent else [0, 0])
    assert {type(error) for error in generation.errors} == (set() if is_sent else {BudgetError})


def test_max_cost_of_a_batch(run, service):
    """``generate_many(max_cost=...)`` counts all images of the batch that are not on disk."""

    async def body(_session):
        await generate_many(["a boat", "a tree"], progress=False)
        what = await refused(
            generate_many(["a boat", "a tree", "an owl", "a hen"], max_cost=0.11, progress=False)
        )
        assert what.startswith("4 images, 2 of them cached or already running: $0.12")
        batch = await generate_many(["a boat", "a tree", "an owl"], max_cost=0.06, progress=False)
        return len(batch.images)

    assert run(service, body) == 3
    assert len(service.tasks) == 3


def test_max_cost_of_an_unknown_price(run, service):
    """An unknown price is refused under any maximum cost."""
    service.fault("quote=404")

    async def body(_session):
        return await refused(
            generate_many(["a boat"], model="gpt-image-2.5-flare", max_cost=100, progress=False)
        )

    assert run(service, body) == "1 image: price not known, and the maximum cost is $100.00."
    assert service.tasks == []


@pytest.mark.parametrize(
    ("settings", "count", "asks"),
    [
        ({}, 10, False),
        ({}, 11, True),
        ({"ask_above_usd": 0.17}, 3, True),
        ({"ask_above_usd": 0.18}, 3, False),
        ({"ask_above_count": 2}, 3, True),
        ({"ask_above_count": 3}, 3, False),
        ({"ask_above_count": 20, "ask_above_usd": 10.0}, 20, False),
    ],
)
def test_limits_of_the_settings(run, service, settings, count, asks):
    """More images or USD than the settings allow need confirmation; the error names --yes."""

    async def body(session):
        request = session.request("a boat", count=count)
        gate = gate_for(session, [request])
        generation = session.start(replace(request, count=1), gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body, **settings)
    messages = [str(error) for error in generation.errors]
    assert [("--yes" in text, NOT_SENT in text) for text in messages] == [(True, True)] * asks
    assert len(service.tasks) == (0 if asks else 1)


def test_an_expensive_request_needs_confirmation(run, service):
    """An expensive quote needs confirmation; with ``--yes`` there is no gate."""

    async def body(session):
        request = session.request("a boat", output_resolution="4k", aspect_ratio="3:2", count=7)
        yes = gate_for(session, [request], asks=False)
        gate = gate_for(session, [request])
        with pytest.raises(BudgetError, match=r"7 images: \$1\.12 \(quoted\)"):
            await gate(lambda: None)
        return yes

    assert run(service, body) is None


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-image-2", {}),
        ("gpt-image-2.5-sunburst", {"output_resolution": "2k", "aspect_ratio": "3:2"}),
    ],
)
def test_the_quote_decides_and_not_the_catalogue(run, service, quote, model, fields):
    """A quote of $1.60 needs confirmation, even if the catalogue's price is lower."""

    async def body(session):
        quote(0.16)
        request = session.request("a boat", model=model, count=10, **fields)
        generation = session.start(request, gate=gate_for(session, [request]))
        return await refused(generation)

    assert run(service, body).startswith("10 images: $1.60 (quoted). Requests for more than 10")
    assert service.tasks == []


def test_a_chain_is_several_images(run, service, quote):
    """Requests that are expensive together need confirmation."""

    async def body(session):
        quote(0.60)
        with pytest.raises(BudgetError, match=r"2 images: \$1\.20 \(quoted\)"):
            await gate_for(session, [session.request("a boat"), session.request("a hut")])(print)

    run(service, body)


def test_one_image_with_a_known_price_has_no_gate(run, service):
    """A single image waits for a quote only if the catalogue has no price for it."""

    async def body(session):
        known = gate_for(session, [session.request("a boat")])
        unknown = gate_for(session, [session.request("a boat", model="gpt-image-2.5-flare")])
        return known, unknown is None

    assert run(service, body) == (None, False)
    assert service.requests == []


@pytest.mark.parametrize(("usd", "is_sent"), [(1.0, True), (1.01, False)])
def test_one_image_without_a_price_in_the_catalogue(run, service, quote, usd, is_sent):
    """For a model without a price in the catalogue, the quote decides."""

    async def body(session):
        quote(usd)
        request = session.request("a boat", model="gpt-image-2.5-flare")
        generation = session.start(request, gate=gate_for(session, [request]))
        await generation.ended()
        return len(generation.images)

    assert run(service, body) == is_sent
    assert len(service.tasks) == is_sent


def test_one_image_at_an_unknown_price(run, service):
    """One image at an unknown price is generated, and a notice says so."""
    service.fault("quote=404")

    async def body(session):
        request = session.request("a boat", model="gpt-image-2.5-flare")
        await session.start(request, gate=gate_for(session, [request]))
        return session.take_notices()

    assert run(service, body) == ["The price of this request was not known when it was sent."]


@pytest.mark.parametrize(
    ("limits", "budget", "is_sent"),
    [
        ({}, None, False),
        ({"asks": False}, None, True),
        ({"asks": False, "max_cost": 9.0}, None, False),
        ({"asks": False}, 9.0, False),
    ],
)
def test_several_images_at_an_unknown_price(run, service, limits, budget, is_sent):
    """Several images at an unknown price need --yes, and no maximum cost or budget."""
    service.fault("quote=404")

    async def body(session):
        session.budgets.set_budget(session.service().access.base_url, "session", budget)
        request = session.request("a boat", model="gpt-image-2.5-flare", count=2)
        generation = session.start(request, gate=gate_for(session, [request], **limits))
        await generation.ended()
        return {type(error) for error in generation.errors}

    assert run(service, body) == (set() if is_sent else {BudgetError})
    assert len(service.tasks) == (2 if is_sent else 0)


class _Question:
    """A question that the test answers."""

    def __init__(self, *, answer):
        self.asked, self.is_closed, self._answer = [], False, answer
        self.again = "Run the cell again."

    async def ask(self, question):
        assert not self.is_closed
        self.asked.append(question)
        return self._answer

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_about_several_images(run, service, answer):
    """Several images at an unknown price are sent only if the user confirms."""
    service.fault("quote=404")
    question = _Question(answer=answer)

    async def body(session):
        request = session.request("a boat", model="gpt-image-2.5-flare", count=2)
        generation = session.start(
            request, gate=gate_for(session, [request], question=lambda: question)
        )
        await generation.ended()

    run(service, body)
    assert question.asked == ["2 images: price not known"]
    assert len(service.tasks) == 2 * answer


def test_a_declined_question_is_not_asked_again(run, service):
    """After the user declined, the next use of the gate fails without a question."""
    question = _Question(answer=False)

    async def body(session):
        gate = gate_for(session, [session.request("a boat", count=20)], question=lambda: question)
        for _ in range(2):
            with pytest.raises(BudgetError):
                await gate(lambda: None)

    run(service, body)
    assert len(question.asked) == 1


def test_cached_images_need_no_confirmation(run, service):
    """Many images that are all on disk need no confirmation and cost nothing."""

    async def body(session):
        request = session.request("a boat", count=3)
        await session.start(request)
        gate = gate_for(session, [request], max_cost=0.0)
        again = await session.start(request, gate=gate)
        return [image.reused for image in again.images]

    assert run(service, body, ask_above_count=2) == [True] * 3
    assert len(service.tasks) == 3


def test_an_error_in_a_gate_ends_the_request(run, service):
    """An error while a gate checks the price ends the request before anything is sent."""

    async def gate(_on_ask):
        raise RunAPIError("No answer.")

    async def body(session):
        generation = session.start(session.request("a boat", count=2), gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body)
    assert [error.what for error in generation.errors] == ["No answer."] * 2
    assert service.requests == []


@pytest.mark.parametrize("is_simulated", [True, False])
def test_the_price_is_that_of_the_service_that_answers(run, service, quote, is_simulated):
    """Turning the simulator on or off does not change the price of a started request."""

    async def body(session):
        quote(0.50)
        request = session.request("a boat", count=4)
        if is_simulated:
            session.connection.simulator_on(speed=1000)
        gate = gate_for(session, [request])
        generation = session.start(request, gate=gate)
        if is_simulated:
            session.connection.simulator_off()
        else:
            session.connection.simulator_on(speed=1000)
        await generation.ended()
        return [error.what for error in generation.errors]

    messages = run(service, body)
    simulated = ", simulated" if is_simulated else ""
    assert all(text.startswith(f"4 images: $2.00 (quoted){simulated}. ") for text in messages)
    assert len(messages) == 4
    assert service.tasks == []


def test_no_question_without_a_key(run, service):
    """Without a key, the error comes before a question is shown."""
    questions = []

    async def body(session):
        session.settings.api_key = ""
        with pytest.raises(MissingKeyError):
            gate_for(
                session, [session.request("a boat", count=3)], question=lambda: questions.append(1)
            )

    run(service, body)
    assert questions == []
