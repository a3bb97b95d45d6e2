"""Shared fixtures for the tests of batches: servers, and the session of a process."""

from __future__ import annotations

import pytest

from runapi_magic.engine import session as session_module
from runapi_magic.notebook.api import generate_many
from tests.conftest import serve_simulator
from tests.servers import Service

PROMPTS = [f"boat {number}" for number in range(6)]


def sent_prompts(service):
    """Return the prompts that a server has received, sorted."""
    return sorted(task["body"]["prompt"] for task in service.tasks)


@pytest.fixture(scope="session")
def _slow_server():
    # Slow enough: a fault makes a task fail when it is polled, so it must still be running then.
    with serve_simulator("--speed", "20") as server:
        yield server


@pytest.fixture
def failing(_slow_server):
    """A simulator that is slow enough for the fault ``status=failed``."""
    return Service(_slow_server)


@pytest.fixture
def run(use, monkeypatch):
    """Run a coroutine function with its session as the session of the process."""

    def start(server, body, **settings):
        async def owned(session):
            monkeypatch.setitem(session_module._current, "session", session)
            return await body(session)

        return use(server, owned, **settings)

    return start


@pytest.fixture
def many(run, service):
    """Run a batch to its end, also if it fails, and return it."""

    def make(prompts, server=service, **options):
        async def body(_session):
            batch = generate_many(prompts, progress=False, **options)
            await batch.ended()
            return batch

        return run(server, body)

    return make
