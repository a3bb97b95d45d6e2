"""The requests of a batch: how many run at a time, and identical requests."""

from __future__ import annotations

import pytest

from runapi_magic.notebook.api import generate_many
from tests.batch.conftest import PROMPTS, sent_prompts
from tests.conftest import serve_simulator

pytestmark = pytest.mark.server


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency(run, concurrency):
    """As many tasks as allowed run at the service at the same time, and no more."""

    async def body(_session):
        prompts = [f"boat {number}" for number in range(12)]
        return await generate_many(prompts, progress=False, concurrency=concurrency)

    with serve_simulator("--speed", "60") as server:
        run(server, body)
        assert server.state()["max_concurrent"] == concurrency


def test_concurrency_setting(run):
    """``RunAPIMagics.concurrency`` is the default."""

    async def body(_session):
        return await generate_many(PROMPTS, progress=False)

    with serve_simulator("--speed", "60") as server:
        assert run(server, body, concurrency=2).concurrency == 2
        assert server.state()["max_concurrent"] == 2


def test_concurrency_of_identical_prompts(run):
    """The limit counts tasks, also when one request has many."""

    async def body(_session):
        return await generate_many(["a boat"] * 8, progress=False, concurrency=2)

    with serve_simulator("--speed", "60") as server:
        run(server, body)
        assert server.state()["max_concurrent"] == 2


def test_identical_prompts(many, service):
    """Two rows with the same prompt are two tasks and two images; the next run finds both."""
    prompts = ["a boat", "a tree", "a boat"]
    first = many(prompts)
    paths = [item.images[0].path for item in first.items]
    assert len(set(paths)) == 3
    assert sent_prompts(service) == ["a boat", "a boat", "a tree"]
    again = many(prompts)
    assert {item.images[0].path for item in again.items} == set(paths)
    assert [item.images[0].prompt for item in again.items] == prompts
    assert len(service.tasks) == 3
    assert (again.cost, again.saved) == (0, pytest.approx(0.18))


def test_a_refused_request(many, service):
    """A request that RunAPI refuses is the failure of one item; the others go on."""
    service.fault("create=422,match=boat 1,message=not this one")
    batch = many(PROMPTS)
    assert [item.index for item in batch.failures] == [1]
    assert len(service.tasks) == 5


def test_a_longer_list(many, service):
    """With more rows than before, only the new ones are charged."""
    many(PROMPTS[:4])
    batch = many(PROMPTS)
    assert len(service.tasks) == 6
    assert batch.cost == pytest.approx(0.12)
    assert [item.images[0].reused for item in batch.items] == [True] * 4 + [False] * 2
