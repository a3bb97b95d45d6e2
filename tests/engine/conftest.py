"""Fixtures for tests of the engine: a session for this process, quotes and a slow simulator."""

from __future__ import annotations

import pytest

from runapi_magic.engine import session as session_module
from tests.conftest import serve_simulator
from tests.servers import Service


@pytest.fixture
def run(use, monkeypatch):
    """Run a coroutine function with a new session, which is also the session of this process."""

    def start(server, body, **settings):
        async def owned(session):
            monkeypatch.setitem(session_module._current, "session", session)
            return await body(session)

        return use(server, owned, **settings)

    return start


@pytest.fixture
def quote(monkeypatch):
    """Return a function that makes the service quote one price in USD for every task."""

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
    """A simulator whose tasks take half a second, so that a test can make them fail."""
    return Service(_slow_server)
