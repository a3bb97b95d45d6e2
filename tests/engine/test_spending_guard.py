"""What requests cost before they are sent, and what a budget lets through, by every door."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from runapi_magic.engine import session as session_module
from runapi_magic.engine.generation import new_local_id
from runapi_magic.engine.pricing import Cost
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.errors import BudgetError, MissingKeyError, RunAPIError
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import money_commands
from runapi_magic.notebook.api import edit, generate, generate_many, resume_batch
from tests.conftest import serve_simulator
from tests.servers import Service

pytestmark = pytest.mark.server

PRICE = 0.06
REFUSED = "Nothing was sent, nothing was charged."
_FREE = "of them cached or already running"


@pytest.fixture
def run(use, monkeypatch):
    """Run a coroutine function with a session that is the process's own, as in a new kernel."""

    def start(server, body, **settings):
        async def owned(session):
            monkeypatch.setitem(session_module._current, "session", session)
            return await body(session)

        return use(server, owned, **settings)

    return start


@pytest.fixture
def quote(monkeypatch):
    """Let the service quote a price for every task."""

    def set_price(usd):
        async def quoted(_client, _request, _count=1):
            return usd

        monkeypatch.setattr("runapi_magic.http.client.Client.quote", quoted)

    return set_price


@pytest.fixture(scope="session")
def _slow_server():
    with serve_simulator("--speed", "20") as server:
        yield server


@pytest.fixture
def slow(_slow_server):
    """A simulator whose tasks take half a second, and can be told to fail."""
    return Service(_slow_server)


def _budget(session, usd, scope="session"):
    session.budgets.set_budget(session.service().access.base_url, scope, usd)


def _spending(session):
    return session.budgets.spending(session.service().access.base_url, "")


async def _refused(work):
    """Return the error of what must not come to anything."""
    with pytest.raises(BudgetError) as caught:
        await work
    what, charged, todo = caught.value.parts
    assert charged == REFUSED
    assert todo
    return what


# What it costs


def test_quotes_are_summed(run, service):
    """The cost of different requests is the sum of the service's own quotes."""

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
    """Where one quote is missing the catalogue's figure stands in, and the cost says estimate."""
    service.fault("quote=404,skip=1")

    async def body(session):
        fields = [{}, {"output_resolution": "2k"}]
        return await session.cost([session.request("a boat", **each) for each in fields])

    cost = run(service, body)
    assert cost == Cost(2, 2, pytest.approx(0.16), is_quote=False)
    assert str(cost) == "2 images: $0.16 (estimate)"


def test_one_unknown_price_makes_all_unknown(run, service):
    """Of a model that nobody knows a price of the cost is not known, whatever else is asked."""
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
        (Cost(3, 0, 0.0, is_quote=True), f"3 images, 3 {_FREE}: nothing to pay"),
        (Cost(3, 1, None, is_quote=False), f"3 images, 2 {_FREE}: price not known"),
    ],
)
def test_a_cost_in_words(cost, words):
    """A cost says how many pictures, how many of them are free, and what the rest costs."""
    assert str(cost) == words


def test_what_is_on_disk_is_free(run, service):
    """What was made before costs nothing; ``since`` and no reuse make it cost again."""

    async def body(session):
        made = await session.generate("a boat", count=2)
        requests = [session.request("a boat", count=3), session.request("a tree")]
        after = made.image.created + 60
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


def test_what_is_under_way_is_free(run, slow):
    """What another cell is at is waited for, not paid a second time."""

    async def body(session):
        first = session.generate("a boat")
        await asyncio.to_thread(_wait_until, lambda: slow.tasks)
        cost = await session.cost([session.request("a boat")])
        await first
        return cost

    assert run(slow, body) == Cost(1, 0, 0, is_quote=True)


def test_identical_requests_are_met_together(run, service):
    """Of three identical requests with one picture on disk two are to be paid, not none."""

    async def body(session):
        await session.generate("a boat")
        return await session.cost([session.request("a boat")] * 3)

    assert run(service, body) == Cost(3, 2, pytest.approx(0.12), is_quote=True)


def test_without_reuse_nothing_is_free(run, service):
    """With ``reuse`` off a picture on disk costs again."""

    async def body(session):
        await session.generate("a boat")
        return await session.cost([session.request("a boat")])

    assert run(service, body, reuse=False).new == 1


def _wait_until(condition):
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


# Every door


@pytest.fixture
def fox(png, home):
    """A picture in the working directory."""
    (home.parent / "work" / "fox.png").write_bytes(png)
    return "fox.png"


@pytest.mark.parametrize("scope", ["session", "day"])
@pytest.mark.parametrize("door", ["generate", "edit", "revise", "repeat", "many", "resume"])
def test_every_door_keeps_the_budget(run, service, fox, door, scope):
    """Whatever asks for a picture, one that would cross a budget sends nothing but the question."""

    async def body(session):
        image = (await session.generate("a boat", new=True)).image
        batch = await generate_many(["an owl", "a hen"], progress=False)
        batch.pictures[0].path.unlink()  # the batch can only be made again
        spent = _spending(session).today
        assert spent == pytest.approx(3 * PRICE)
        before = len(service.tasks), len(service.paths())
        _budget(session, spent + PRICE - 0.01, scope)
        work = {
            "generate": lambda: generate("a tree"),
            "edit": lambda: edit(fox, "blue"),
            "revise": lambda: session.revise(image, "blue"),
            "repeat": lambda: session.repeat(image),
            "many": lambda: generate_many(["a tree", "a bush"], progress=False),
            "resume": lambda: resume_batch(batch.id, progress=False),
        }[door]()
        what = await _refused(work)
        assert f"the budget of the {scope} is" in what
        assert _spending(session).reserved == 0
        return before, set(service.paths()[before[1] :])

    before, posted = run(service, body)
    assert len(service.tasks) == before[0]
    assert posted <= {"/api/v1/price_quotes"}


def test_what_fits_goes_through(run, service):
    """A budget lets through what just fits, to the cent, and counts it as spent."""

    async def body(session):
        _budget(session, 0.30)
        batch = await generate_many([f"boat {n}" for n in range(5)], progress=False)
        what = await _refused(session.generate("a tree"))
        assert "$0.30 spent" in what
        return len(batch.pictures), _spending(session)

    count, spending = run(service, body)
    assert (count, spending.session, spending.reserved) == (5, pytest.approx(0.30), 0)


def test_what_is_on_disk_needs_no_budget(run, service):
    """With a budget of nothing a picture that is on disk is still shown."""

    async def body(session):
        await session.generate("a boat")
        _budget(session, 0.0)
        again = await session.generate("a boat")
        batch = await generate_many(["a boat"], progress=False)
        await _refused(session.generate("a boat", new=True))
        return again.image.reused, len(batch.pictures)

    assert run(service, body) == (True, 1)
    assert len(service.tasks) == 1


def test_a_batch_that_would_cross_sends_nothing(run, service):
    """Not even the first pictures of a batch are asked for where the last would cross."""

    async def body(session):
        _budget(session, 0.20, "day")
        batch = generate_many([f"boat {n}" for n in range(4)], progress=False)
        what = await _refused(batch)
        assert "This costs $0.24" in what
        assert [item.status for item in batch.items] == ["failed"] * 4
        assert isinstance(batch.error, BudgetError)
        _budget(session, 0.24, "day")
        return await batch.retry_failed()

    assert len(run(service, body).pictures) == 4
    assert len(service.tasks) == 4


@pytest.mark.parametrize("round_", range(3))
def test_two_batches_cannot_cross_together(run, service, round_):
    """Of two batches that are started together, and fit only alone, one sends nothing."""

    async def body(session):
        _budget(session, 0.40)
        batches = [
            generate_many([f"{word} {n}" for n in range(4)], progress=False)
            for word in ("boat", "tree")
        ]
        await asyncio.gather(*(batch.ended() for batch in batches))
        return sorted(len(batch.pictures) for batch in batches), _spending(session).session

    assert run(service, body) == ([0, 4], pytest.approx(0.24))
    assert len(service.tasks) == 4


def test_single_requests_cannot_cross_together(run, service):
    """Of ten cells that are started together exactly as many go through as fit."""

    async def body(session):
        _budget(session, 0.20)
        asked = [session.generate(f"boat {n}") for n in range(10)]
        await asyncio.gather(*(one.ended() for one in asked))
        errors = [error for one in asked for error in one.errors]
        return sum(len(one.images) for one in asked), {type(error) for error in errors}

    assert run(service, body) == (3, {BudgetError})
    assert len(service.tasks) == 3


def test_a_failed_task_gives_its_money_back(run, slow):
    """What failed is not spent: the next picture fits into the budget again."""
    slow.fault("status=failed,match=bad")

    async def body(session):
        _budget(session, 0.13)
        batch = await generate_many(["a good boat", "a bad boat"], progress=False)
        assert len(batch.failures) == 1
        spent = _spending(session).session
        await session.generate("a tree")
        return spent

    assert run(slow, body) == pytest.approx(PRICE)


def test_a_retry_is_within_the_budget(run, slow):
    """What a batch has paid counts while its failed part is asked for again."""
    slow.fault("status=failed,match=bad,times=1")

    async def body(session):
        _budget(session, 0.18)
        batch = await generate_many(["a good boat", "a fine boat", "a bad boat"], progress=False)
        assert len(batch.failures) == 1
        batch.retry_failed()
        await asyncio.to_thread(_wait_until, lambda: len(slow.tasks) == 4)
        what = await _refused(session.generate("a tree"))
        assert "$0.12 spent, $0.06 reserved" in what
        await batch
        return len(batch.pictures)

    assert run(slow, body) == 3
    assert len(slow.tasks) == 4


def test_a_cancelled_batch_lets_go(run, slow):
    """What was set aside for a cancelled batch is free; what was sent counts by its price."""
    slow.fault("status=stuck,match=boat")

    async def body(session):
        _budget(session, 0.30)
        batch = generate_many([f"boat {n}" for n in range(5)], progress=False, concurrency=2)
        await asyncio.to_thread(_wait_until, lambda: len(slow.tasks) == 2)
        batch.cancel()
        await batch.ended()
        found = _spending(session)
        return found.session, found.reserved

    assert run(slow, body) == (pytest.approx(0.12), 0)


def test_an_unknown_price_is_refused_where_there_is_a_budget(run, service):
    """What nobody knows a price of is not sent where there is a budget, and is where is none."""
    service.fault("quote=404", "create=422,model=gpt-image-2.5-flare")

    async def body(session):
        free = session.generate("a boat", model="gpt-image-2.5-flare")
        await free.ended()
        asked = len([path for path in service.paths() if "quotes" not in path])
        _budget(session, 5.0)
        what = await _refused(session.generate("a tree", model="gpt-image-2.5-flare"))
        many = await _refused(
            generate_many(["a tree"], model="gpt-image-2.5-flare", progress=False)
        )
        return what == many == "There is a budget, but the price of this request is unknown.", asked

    is_said, asked = run(service, body)
    assert is_said
    assert asked > 0
    assert len([path for path in service.paths() if "quotes" not in path]) == asked


def test_simulated_money_is_not_real(run, service):
    """What the simulator drew is in its own account, and its budget is its own."""

    async def body(session):
        _budget(session, 0.05, "day")
        session.connection.simulator_on(speed=1000)
        simulator = session.service()
        await session.generate("a boat")
        simulated = _spending(session).total
        session.connection.simulator_off()
        await simulator.client.transport.close()
        await _refused(session.generate("a boat"))
        return simulated, _spending(session).total

    assert run(service, body) == (pytest.approx(PRICE), 0)
    assert service.tasks == []


def test_simulated_money_says_so(run, service):
    """Neither a question nor what was spent calls the simulator's money real."""

    async def body(session):
        session.connection.simulator_on(speed=1000)
        gate = gate_for(session, [session.request("a boat", count=20)])
        with pytest.raises(BudgetError) as caught:
            await gate(lambda: None)
        return caught.value.what, money_commands.budget(session, [])

    asked, spent = run(service, body)
    assert asked.startswith("20 images: $1.20 (quoted), simulated.")
    assert "Spent here (simulated): this session $0.00" in spent


def test_the_cost_counts_and_not_the_quote(run, service, quote):
    """What a task cost in the end counts, also where the quote was higher or lower."""

    async def body(session):
        quote(0.25)
        _budget(session, 0.30)
        await session.generate("a boat")
        return _spending(session).session

    assert run(service, body) == pytest.approx(PRICE)


# Without a journal


def test_a_journal_that_cannot_be_used(run, service, tmp_path):
    """Without a journal pictures are made all the same, but none where there is a budget."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        await session.generate("a boat")
        _budget(session, 5.0)
        what = await _refused(session.generate("a tree"))
        await _refused(generate_many(["a bush"], progress=False))
        return what

    assert "the journal that records the spending cannot be used" in run(service, body)
    assert len(service.tasks) == 1


# The limit of one cell


@pytest.mark.parametrize(
    ("asked", "limit", "goes"),
    [
        ({"output_resolution": "2k", "count": 3}, 0.30, True),
        ({"output_resolution": "2k", "count": 3}, 0.29, False),
        ({"count": 1}, 0.0, False),
        ({"count": 1}, 0.06, True),
        ({"count": 1}, float("nan"), False),
    ],
)
def test_max_cost(run, service, asked, limit, goes):
    """``--max-cost`` refuses what costs more, and lets through what costs just that."""
    count = asked["count"]

    async def body(session):
        requests = [session.request("a boat", **asked)]
        gate = gate_for(session, requests, max_cost=limit)
        generation = session.start(requests[0], gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body)
    assert [len(generation.images), len(service.tasks)] == ([count] * 2 if goes else [0, 0])
    assert {type(error) for error in generation.errors} == (set() if goes else {BudgetError})


def test_max_cost_of_a_batch(run, service):
    """``generate_many(max_cost=...)`` counts the whole batch, less what is on disk."""

    async def body(_session):
        await generate_many(["a boat", "a tree"], progress=False)
        what = await _refused(
            generate_many(["a boat", "a tree", "an owl", "a hen"], max_cost=0.11, progress=False)
        )
        assert what.startswith("4 images, 2 of them cached or already running: $0.12")
        batch = await generate_many(["a boat", "a tree", "an owl"], max_cost=0.06, progress=False)
        return len(batch.pictures)

    assert run(service, body) == 3
    assert len(service.tasks) == 3


def test_max_cost_of_an_unknown_price(run, service):
    """What nobody knows a price of is not below any limit."""
    service.fault("quote=404")

    async def body(_session):
        return await _refused(
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
def test_when_it_is_asked(run, service, settings, count, asks):
    """More than the settings say needs a word; where nobody can click the error names --yes."""

    async def body(session):
        request = session.request("a boat", count=count)
        gate = gate_for(session, [request])
        generation = session.start(replace(request, count=1), gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body, **settings)
    said = [str(error) for error in generation.errors]
    assert [("--yes" in words, REFUSED in words) for words in said] == [(True, True)] * asks
    assert len(service.tasks) == (0 if asks else 1)


def test_a_dear_request_is_asked_about_by_its_quote(run, service):
    """It is the service's price that decides; ``--yes`` needs no question at all."""

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
    """Ten images that the service quotes at $1.60 are asked about, whatever the catalogue says."""

    async def body(session):
        quote(0.16)
        request = session.request("a boat", model=model, count=10, **fields)
        generation = session.start(request, gate=gate_for(session, [request]))
        return await _refused(generation)

    assert run(service, body).startswith("10 images: $1.60 (quoted). Requests for more than 10")
    assert service.tasks == []


def test_a_chain_is_several_images(run, service, quote):
    """Requests that are dear together are asked about by their quotes."""

    async def body(session):
        quote(0.60)
        with pytest.raises(BudgetError, match=r"2 images: \$1\.20 \(quoted\)"):
            await gate_for(session, [session.request("a boat"), session.request("a hut")])(print)

    run(service, body)


def test_one_image_of_a_known_price_waits_for_no_quote(run, service):
    """A single image whose price the catalogue knows has no gate; at an unknown price it has."""

    async def body(session):
        known = gate_for(session, [session.request("a boat")])
        unknown = gate_for(session, [session.request("a boat", model="gpt-image-2.5-flare")])
        return known, unknown is None

    assert run(service, body) == (None, False)
    assert service.requests == []


@pytest.mark.parametrize(("usd", "goes"), [(1.0, True), (1.01, False)])
def test_one_image_that_the_catalogue_does_not_price(run, service, quote, usd, goes):
    """The quote decides on one image of a model without a price in the catalogue."""

    async def body(session):
        quote(usd)
        request = session.request("a boat", model="gpt-image-2.5-flare")
        generation = session.start(request, gate=gate_for(session, [request]))
        await generation.ended()
        return len(generation.images)

    assert run(service, body) == goes
    assert len(service.tasks) == goes


def test_one_image_at_an_unknown_price_says_so(run, service):
    """One image goes without a price, and the note with it says that none was known."""
    service.fault("quote=404")

    async def body(session):
        request = session.request("a boat", model="gpt-image-2.5-flare")
        await session.start(request, gate=gate_for(session, [request]))
        return session.take_notices()

    assert run(service, body) == ["The price of this request was not known when it was sent."]


@pytest.mark.parametrize(
    ("limits", "budget", "goes"),
    [
        ({}, None, False),
        ({"asks": False}, None, True),
        ({"asks": False, "max_cost": 9.0}, None, False),
        ({"asks": False}, 9.0, False),
    ],
)
def test_several_images_at_an_unknown_price(run, service, limits, budget, goes):
    """They need a word where nobody can click; it is not enough under a limit or a budget."""
    service.fault("quote=404")

    async def body(session):
        session.budgets.set_budget(session.service().access.base_url, "session", budget)
        request = session.request("a boat", model="gpt-image-2.5-flare", count=2)
        generation = session.start(request, gate=gate_for(session, [request], **limits))
        await generation.ended()
        return {type(error) for error in generation.errors}

    assert run(service, body) == (set() if goes else {BudgetError})
    assert len(service.tasks) == (2 if goes else 0)


class _Answers:
    """A question in the cell that is answered as the test says, until it is closed."""

    def __init__(self, *, answer):
        self.asked, self.is_closed, self._answer = [], False, answer
        self.again = "Run the cell again."

    async def ask(self, words):
        assert not self.is_closed
        self.asked.append(words)
        return self._answer

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("answer", [True, False])
def test_several_images_at_an_unknown_price_are_asked_about(run, service, answer):
    """Somebody who is there is asked before several images at an unknown price are sent."""
    service.fault("quote=404")
    question = _Answers(answer=answer)

    async def body(session):
        request = session.request("a boat", model="gpt-image-2.5-flare", count=2)
        generation = session.start(
            request, gate=gate_for(session, [request], question=lambda: question)
        )
        await generation.ended()

    run(service, body)
    assert question.asked == ["2 images: price not known"]
    assert len(service.tasks) == 2 * answer


def test_a_gate_that_has_closed_its_question_asks_no_more(run, service):
    """After a declined question a second try ends with an error, and waits for no click."""
    question = _Answers(answer=False)

    async def body(session):
        gate = gate_for(session, [session.request("a boat", count=20)], question=lambda: question)
        for _ in range(2):
            with pytest.raises(BudgetError):
                await gate(lambda: None)

    run(service, body)
    assert len(question.asked) == 1


def test_a_repeat_from_disk_is_not_asked_about(run, service):
    """Many pictures that are all on disk need no word and no money."""

    async def body(session):
        request = session.request("a boat", count=3)
        await session.start(request)
        gate = gate_for(session, [request], max_cost=0.0)
        again = await session.start(request, gate=gate)
        return [image.reused for image in again.images]

    assert run(service, body, ask_above_count=2) == [True] * 3
    assert len(service.tasks) == 3


def test_a_gates_own_trouble_is_the_requests_end(run, service):
    """An error while the price is asked for ends the request in words, with nothing sent."""

    async def gate(_on_ask):
        raise RunAPIError("No answer.")

    async def body(session):
        generation = session.start(session.request("a boat", count=2), gate=gate)
        await generation.ended()
        return generation

    generation = run(service, body)
    assert [error.what for error in generation.errors] == ["No answer."] * 2
    assert service.requests == []


def test_resume_keeps_to_the_budget(run, service):
    """What a dead kernel had only planned is not paid for where the budget has no room for it."""

    async def body(session):
        origin = session.service().access.base_url
        dead = Journal(session.journal.path.parent)
        for prompt in ("a boat", "a kite"):
            dead.allocate(
                f"of {prompt}", session.request(prompt), origin,
                split=lambda count: (count,), new_id=new_local_id, usable=lambda *_: False,
            )  # fmt: skip
        dead.close()
        _budget(session, PRICE * 1.5)
        resumed = resume_tasks(session)
        assert len(resumed.tasks) == 2
        refused = await _refused(resumed.wait())
        _budget(session, PRICE * 2)
        await session.start(session.request("a boat"))
        return refused

    assert "budget" in run(service, body)
    assert [task["body"]["prompt"] for task in service.tasks] == ["a boat"]


@pytest.mark.parametrize("is_simulated", [True, False])
def test_the_price_is_that_of_the_service_that_answers(run, service, quote, is_simulated):
    """A simulator that is turned on or off before the price is known changes nothing of it."""

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

    said = run(service, body)
    simulated = ", simulated" if is_simulated else ""
    assert all(words.startswith(f"4 images: $2.00 (quoted){simulated}. ") for words in said)
    assert len(said) == 4
    assert service.tasks == []


def test_a_request_without_a_key_leaves_no_question_behind(run, service):
    """Where there is no key no question takes a place in the notebook, where it would stay."""
    made = []

    async def body(session):
        session.settings.api_key = ""
        with pytest.raises(MissingKeyError):
            gate_for(session, [session.request("a boat", count=3)], question=lambda: made.append(1))

    run(service, body)
    assert made == []
