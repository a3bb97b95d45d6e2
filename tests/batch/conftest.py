"""Fixtures of the tests of batches: a session of the process, and servers."""

from __future__ import annotations

import pytest

from runapi_magic.engine import session as session_module
from runapi_magic.notebook.api import generate_many
from tests.conftest import serve_simulator
from tests.servers import Service

PROMPTS = [f"boat {number}" for number in range(6)]


def sent_prompts(service):
    """Return the prompts that a server has got, sorted."""
    return sorted(task["body"]["prompt"] for task in service.tasks)


@pytest.fixture(scope="session")
def _slow_server():
    # So slow that a task is not done at the first look, which is where tasks are told to fail.
    with serve_simulator("--speed", "20") as server:
        yield server


@pytest.fixture
def failing(_slow_server):
    """A simulator whose tasks can be told to fail."""
    return Service(_slow_server)


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
def many(run, service):
    """Make a batch to its end, whatever it is, and return it."""

    def make(prompts, server=service, **options):
        async def body(_session):
            batch = generate_many(prompts, progress=False, **options)
            await batch.ended()
            return batch

        return run(server, body)

    return make
