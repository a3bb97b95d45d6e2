"""A budget stops every kind of request that would exceed it."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.engine.generation import new_local_id
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.errors import BudgetError
from runapi_magic.journal.tables import Billing
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import money_commands
from runapi_magic.notebook.api import edit, generate, generate_many, resume_batch
from tests.engine.money import PRICE, refused, set_budget, spending, wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def fox(png, home):
    """An image file in the working directory."""
    (home.parent / "work" / "fox.png").write_bytes(png)
    return "fox.png"


@pytest.mark.parametrize("scope", ["session", "day"])
@pytest.mark.parametrize("kind", ["generate", "edit", "revise", "repeat", "many", "resume"])
def test_every_kind_of_request_keeps_the_budget(run, service, fox, kind, scope):
    """A request of any kind that would exceed the budget sends only the quote request."""

    async def body(session):
        image = (await session.generate("a boat", new=True)).image
        batch = await generate_many(["an owl", "a hen"], progress=False)
        batch.images[0].path.unlink()  # so the batch must be generated again
        spent = spending(session).today
        assert spent == pytest.approx(3 * PRICE)
        before = len(service.tasks), len(service.paths())
        set_budget(session, spent + PRICE - 0.01, scope)
        work = {
            "generate": lambda: generate("a tree"),
            "edit": lambda: edit(fox, "blue"),
            "revise": lambda: session.revise(image, "blue"),
            "repeat": lambda: session.repeat(image),
            "many": lambda: generate_many(["a tree", "a bush"], progress=False),
            "resume": lambda: resume_batch(batch.id, progress=False),
        }[kind]()
        what = await refused(work)
        assert f"the budget of the {scope} is" in what
        assert spending(session).reserved == 0
        return before, set(service.paths()[before[1] :])

    before, posted = run(service, body)
    assert len(service.tasks) == before[0]
    assert posted <= {"/api/v1/price_quotes"}


def test_requests_within_the_budget(run, service):
    """A budget allows requests that cost exactly as much as is left, and counts them as spent."""

    async def body(session):
        set_budget(session, 0.30)
        batch = await generate_many([f"boat {n}" for n in range(5)], progress=False)
        what = await refused(session.generate("a tree"))
        assert "$0.30 spent" in what
        return len(batch.images), spending(session)

    count, spent = run(service, body)
    assert (count, spent.session, spent.reserved) == (5, pytest.approx(0.30), 0)


def test_cached_images_need_no_budget(run, service):
    """With a budget of 0 USD, images on disk are still shown."""

    async def body(session):
        await session.generate("a boat")
        set_budget(session, 0.0)
        again = await session.generate("a boat")
        batch = await generate_many(["a boat"], progress=False)
        await refused(session.generate("a boat", new=True))
        return again.image.reused, len(batch.images)

    assert run(service, body) == (True, 1)
    assert len(service.tasks) == 1


def test_a_batch_over_the_budget_sends_nothing(run, service):
    """A batch that costs more than the budget sends none of its requests."""

    async def body(session):
        set_budget(session, 0.20, "day")
        batch = generate_many([f"boat {n}" for n in range(4)], progress=False)
        what = await refused(batch)
        assert "This costs $0.24" in what
        assert [item.status for item in batch.items] == ["failed"] * 4
        assert isinstance(batch.error, BudgetError)
        set_budget(session, 0.24, "day")
        return await batch.retry_failed()

    assert len(run(service, body).images) == 4
    assert len(service.tasks) == 4


@pytest.mark.parametrize("round_", range(3))
def test_two_batches_share_the_budget(run, service, round_):
    """If two batches start together but only one fits into the budget, one sends nothing."""

    async def body(session):
        set_budget(session, 0.40)
        batches = [
            generate_many([f"{word} {n}" for n in range(4)], progress=False)
            for word in ("boat", "tree")
        ]
        await asyncio.gather(*(batch.ended() for batch in batches))
        return sorted(len(batch.images) for batch in batches), spending(session).session

    assert run(service, body) == ([0, 4], pytest.approx(0.24))
    assert len(service.tasks) == 4


def test_concurrent_requests_share_the_budget(run, service):
    """If ten cells start together, as many requests are sent as fit into the budget."""

    async def body(session):
        set_budget(session, 0.20)
        generations = [session.generate(f"boat {n}") for n in range(10)]
        await asyncio.gather(*(one.ended() for one in generations))
        errors = [error for one in generations for error in one.errors]
        return sum(len(one.images) for one in generations), {type(error) for error in errors}

    assert run(service, body) == (3, {BudgetError})
    assert len(service.tasks) == 3


def test_a_failed_task_is_not_spent(run, slow):
    """The cost of a failed task is available for the next request."""
    slow.fault("status=failed,match=bad")

    async def body(session):
        set_budget(session, 0.13)
        batch = await generate_many(["a good boat", "a bad boat"], progress=False)
        assert len(batch.failures) == 1
        spent = spending(session).session
        await session.generate("a tree")
        return spent

    assert run(slow, body) == pytest.approx(PRICE)


def test_a_retry_is_within_the_budget(run, slow):
    """While a batch retries a failed item, its paid items count against the budget."""
    slow.fault("status=failed,match=bad,times=1")

    async def body(session):
        set_budget(session, 0.18)
        batch = await generate_many(["a good boat", "a fine boat", "a bad boat"], progress=False)
        assert len(batch.failures) == 1
        batch.retry_failed()
        await asyncio.to_thread(wait_until, lambda: len(slow.tasks) == 4)
        what = await refused(session.generate("a tree"))
        assert "$0.12 spent, $0.06 reserved" in what
        await batch
        return len(batch.images)

    assert run(slow, body) == 3
    assert len(slow.tasks) == 4


def test_a_cancelled_batch_releases_its_reservation(run, slow):
    """After a batch is cancelled, only the tasks that were sent count, with their price."""
    slow.fault("status=stuck,match=boat")

    async def body(session):
        set_budget(session, 0.30)
        batch = generate_many([f"boat {n}" for n in range(5)], progress=False, concurrency=2)
        await asyncio.to_thread(wait_until, lambda: len(slow.tasks) == 2)
        batch.cancel()
        await batch.ended()
        found = spending(session)
        return found.session, found.reserved

    assert run(slow, body) == (pytest.approx(0.12), 0)


def test_an_unknown_price_under_a_budget(run, service):
    """A request with an unknown price is refused only if there is a budget."""
    service.fault("quote=404", "create=422,model=gpt-image-2.5-flare")

    async def body(session):
        free = session.generate("a boat", model="gpt-image-2.5-flare")
        await free.ended()
        sent = len([path for path in service.paths() if "quotes" not in path])
        set_budget(session, 5.0)
        what = await refused(session.generate("a tree", model="gpt-image-2.5-flare"))
        many = await refused(generate_many(["a tree"], model="gpt-image-2.5-flare", progress=False))
        return what == many == "There is a budget, but the price of this request is unknown.", sent

    same_message, sent = run(service, body)
    assert same_message
    assert sent > 0
    assert len([path for path in service.paths() if "quotes" not in path]) == sent


def test_simulated_spending_is_separate(run, service):
    """The simulator has its own spending and its own budget."""

    async def body(session):
        set_budget(session, 0.05, "day")
        session.connection.simulator_on(speed=1000)
        simulator = session.service()
        await session.generate("a boat")
        simulated = spending(session).total
        session.connection.simulator_off()
        await simulator.client.transport.close()
        await refused(session.generate("a boat"))
        return simulated, spending(session).total

    assert run(service, body) == (pytest.approx(PRICE), 0)
    assert service.tasks == []


def test_simulated_amounts_are_labelled(run, service):
    """Questions and spending reports say that amounts are simulated."""

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
    """The spending is the real cost of a task, even if the quote was different."""

    async def body(session):
        quote(0.25)
        set_budget(session, 0.30)
        await session.generate("a boat")
        return spending(session).session

    assert run(service, body) == pytest.approx(PRICE)


def test_a_journal_that_cannot_be_used(run, service, tmp_path):
    """Without a journal, images are generated, but not under a budget."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        await session.generate("a boat")
        set_budget(session, 5.0)
        what = await refused(session.generate("a tree"))
        await refused(generate_many(["a bush"], progress=False))
        return what

    assert "the journal that records the spending cannot be used" in run(service, body)
    assert len(service.tasks) == 1


def _plan_in_a_dead_kernel(session, *prompts):
    """Record tasks that a kernel planned but did not send before it ended."""
    dead = Journal(session.journal.path.parent)
    for prompt in prompts:
        dead.allocate(
            f"of {prompt}", session.request(prompt), session.service().access.base_url,
            split=lambda count: (count,), new_id=new_local_id, usable=lambda *_: False,
            billing=Billing(lambda _count: PRICE, f"of {prompt}"),
        )  # fmt: skip
    dead.close()


def test_resume_keeps_to_the_budget(run, service):
    """Resuming a task that was never sent is refused if the budget has no money left."""

    async def body(session):
        _plan_in_a_dead_kernel(session, "a boat", "a kite")
        set_budget(session, PRICE * 1.5)
        resumed = resume_tasks(session)
        assert len(resumed.tasks) == 2
        error = await refused(resumed.wait())
        set_budget(session, PRICE * 2)
        await session.start(session.request("a boat"))
        return error

    assert "budget" in run(service, body)
    assert [task["body"]["prompt"] for task in service.tasks] == ["a boat"]


def test_a_cancelled_resume_over_the_budget(run, slow, monkeypatch):
    """If you cancel a resume while its money is refused, it does not wait for its other tasks."""
    slow.fault("status=stuck,match=boat")

    async def body(session):
        sent = session.generate("a boat")
        await asyncio.to_thread(wait_until, lambda: sent.task_ids)
        sent.cancel()
        await sent.ended()
        _plan_in_a_dead_kernel(session, "a kite")
        set_budget(session, 0.01)
        reserve = session.budgets.reserve

        def cancel_and_reserve(*values):
            resumed.cancel()
            return reserve(*values)

        monkeypatch.setattr(session.budgets, "reserve", cancel_and_reserve)
        resumed = resume_tasks(session)
        async with asyncio.timeout(20):
            await resumed.ended()
        return {task.request.prompt: task.status for task in resumed.tasks}

    assert run(slow, body) == {"a boat": "cancelled", "a kite": "failed"}
    assert len(slow.tasks) == 1


def test_a_resumed_task_that_was_never_sent_is_paid_here(run, slow):
    """The kernel that sends a dead kernel's planned task has spent its cost, and only once."""
    slow.fault("status=stuck,match=boat")

    async def body(session):
        _plan_in_a_dead_kernel(session, "a boat")
        for scope in ("session", "day"):
            set_budget(session, PRICE * 2, scope)
        resumed = resume_tasks(session)
        await asyncio.to_thread(wait_until, lambda: len(slow.tasks) == 1)
        await session.generate("a tree")  # it fits: the boat is reserved, and not spent as well
        slow.clear_faults()
        await resumed
        return spending(session)

    spent = run(slow, body)
    assert (spent.session, spent.today) == (pytest.approx(2 * PRICE), pytest.approx(2 * PRICE))
    assert spent.reserved == 0
