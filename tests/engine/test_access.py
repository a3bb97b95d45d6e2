"""The key and base URL are looked up once for each cell execution."""

from __future__ import annotations

import asyncio
import sys
import threading
import types

import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.engine.credentials import save_key
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import ConfigurationError
from runapi_magic.notebook.api import run_batch
from tests.conftest import KEY

pytestmark = pytest.mark.server


class Colab:
    """Colab's secrets: the answers to give, and the threads that asked."""

    def __init__(self):
        self.answers = [KEY]
        self.asked = []

    def get(self, name):
        """Return the next answer; the last one is repeated."""
        assert name == "RUNAPI_API_KEY"
        self.asked.append(threading.current_thread())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def colab(monkeypatch):
    """A fake kernel in Colab."""
    secrets = Colab()
    package = types.ModuleType("google.colab")
    package.userdata = secrets
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return secrets


@pytest.fixture
def run(service):
    """Run a coroutine function with a session that has no key in its settings."""

    def call(body):
        async def main():
            session = Session(Settings(base_url=service.url))
            try:
                return await asyncio.wait_for(body(session), 60)
            finally:
                for service_used in filter(None, [session.connection._remote]):
                    await service_used.client.transport.close()
                session.journal.close()

        return asyncio.run(main())

    return call


def _batch(session, count=20):
    return Batch([Item(n, session.request(f"a fox {n}")) for n in range(count)])


def _generate_many(session, batch):
    return run_batch(batch, session, progress=False)


@pytest.mark.parametrize("start", [begin_batch, _generate_many])
def test_a_batch_asks_colab_once_and_off_the_loop(run, colab, service, start):
    """A batch of twenty requests asks Colab once, and not on the event loop's thread."""

    async def body(session):
        batch = start(session, _batch(session))
        await batch
        return batch

    batch = run(body)
    assert len(batch.images) == len(service.tasks) == 20
    assert len(colab.asked) == 1
    assert threading.main_thread() not in colab.asked


def test_a_request_asks_colab_once_and_off_the_loop(run, colab):
    """A request with a price quote asks Colab once in a cell."""

    async def body(session):
        session.connection.cell_id = lambda: "cell 1"

        async def gate(_):
            await session.cost([session.request("a fox")])

        generation = session.start(session.request("a fox"), gate=gate)
        await generation
        return len(colab.asked)

    assert run(body) == 1
    assert threading.main_thread() not in colab.asked


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TimeoutException", "did not return the secret RUNAPI_API_KEY in time"),
        ("NotebookAccessError", "does not let this notebook"),
        ("SecretNotFoundError", "no RunAPI key"),
    ],
)
def test_an_error_of_colab_ends_a_request(run, colab, service, name, words):
    """If Colab refuses the key, a request and a batch fail, and nothing is sent."""
    colab.answers = [type(name, (Exception,), {})()]

    async def body(session):
        generation = session.generate("a fox")
        batch = begin_batch(session, _batch(session, 3))
        await generation.ended()
        await batch.ended()
        return generation.errors, batch.errors

    for errors in run(body):
        (error,) = errors
        assert isinstance(error, ConfigurationError)
        assert words in error.what
        assert "Nothing was sent" in error.charged
    assert service.paths() == []


def test_a_batch_keeps_its_key(run, colab, service):
    """A batch keeps its key, even if Colab would return an error now."""
    colab.answers = [KEY, type("TimeoutException", (Exception,), {})()]

    async def body(session):
        return await begin_batch(session, _batch(session))

    assert len(run(body).images) == 20


def test_another_cell_asks_again(run, colab):
    """The key is looked up once in a cell, and again in the next cell."""
    colab.answers = [KEY, "sk-another-0123456789"]

    async def body(session):
        keys = []
        for cell in ("cell 1", "cell 1", "cell 2"):
            session.connection.cell_id = lambda cell=cell: cell
            keys.append(session.connection.access().key.reveal())
        return keys

    assert run(body) == [KEY, KEY, "sk-another-0123456789"]


def test_a_new_key_in_the_same_cell(run, home, monkeypatch):
    """A new key from login, the environment or a setting is used in the same cell."""
    save_key("sk-file-0123456789")

    async def body(session):
        session.connection.cell_id = lambda: "cell 1"
        keys = [session.connection.access().key.reveal()]
        save_key("sk-login-0123456789")
        session.connection.forget_access()
        keys.append(session.connection.access().key.reveal())
        monkeypatch.setenv("RUNAPI_API_KEY", "sk-variable-0123456789")
        keys.append(session.connection.access().key.reveal())
        session.settings.api_key = "sk-setting-0123456789"
        return [*keys, session.connection.access().key.reveal()]

    assert run(body) == [
        f"sk-{name}-0123456789" for name in ("file", "login", "variable", "setting")
    ]


def test_a_batch_reads_the_key_file_once(run, home, monkeypatch):
    """A batch of twenty requests reads the key file no more often than a batch of three."""
    save_key(KEY)
    read = []
    from runapi_magic.engine import credentials

    real = credentials._from_cli_file
    monkeypatch.setattr(credentials, "_from_cli_file", lambda env: read.append(1) or real(env))

    def count(size):
        async def body(session):
            await begin_batch(session, _batch(session, size))

        read.clear()
        run(body)
        return len(read)

    assert count(20) == count(3) <= 2
