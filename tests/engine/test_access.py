"""Key and base URL are found once in a run, and what Colab says is told."""

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
from tests.conftest import KEY

pytestmark = pytest.mark.server


class Colab:
    """Colab's secrets: what is answered, and from which threads it was asked."""

    def __init__(self):
        self.answers = [KEY]
        self.asked = []

    def get(self, name):
        """Answer once, the last answer for ever."""
        assert name == "RUNAPI_API_KEY"
        self.asked.append(threading.current_thread())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def colab(monkeypatch):
    """A kernel in Colab."""
    found = Colab()
    package = types.ModuleType("google.colab")
    package.userdata = found
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return found


@pytest.fixture
def run(service):
    """Run a coroutine function with a session that has no key of its own."""

    def call(body):
        async def main():
            session = Session(Settings(base_url=service.url))
            try:
                return await asyncio.wait_for(body(session), 60)
            finally:
                for made in filter(None, [session.connection._remote]):
                    await made.client.transport.close()
                session.journal.close()

        return asyncio.run(main())

    return call


def _batch(session, count=20):
    return begin_batch(
        session, Batch([Item(n, session.request(f"a fox {n}")) for n in range(count)])
    )


def test_a_batch_asks_colab_once_and_off_the_loop(run, colab, service):
    """Twenty requests ask Colab once, on a thread where the answer keeps nobody waiting."""

    async def body(session):
        batch = _batch(session)
        await batch
        return batch

    batch = run(body)
    assert len(batch.pictures) == len(service.tasks) == 20
    assert len(colab.asked) == 1
    assert threading.main_thread() not in colab.asked


def test_a_request_asks_colab_once_and_off_the_loop(run, colab):
    """One request, with its price asked for before, asks Colab once in a cell."""

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
def test_what_colab_says_is_the_end_of_a_request(run, colab, service, name, words):
    """A request and a batch end with what Colab said; nothing is sent."""
    colab.answers = [type(name, (Exception,), {})()]

    async def body(session):
        generation = session.generate("a fox")
        batch = _batch(session, 3)
        await generation.ended()
        await batch.ended()
        return generation.errors, batch.errors

    for errors in run(body):
        (error,) = errors
        assert isinstance(error, ConfigurationError)
        assert words in error.what
        assert "Nothing was sent" in error.charged
    assert service.paths() == []


def test_a_batch_keeps_the_key_that_it_began_with(run, colab, service):
    """Colab failing in the middle of a batch, or another key in it, changes nothing of it."""
    colab.answers = [KEY, type("TimeoutException", (Exception,), {})()]

    async def body(session):
        return await _batch(session)

    assert len(run(body).pictures) == 20


def test_another_cell_asks_again(run, colab):
    """The key is asked for once in a cell, and again in the next, where it may be another one."""
    colab.answers = [KEY, "sk-another-0123456789"]

    async def body(session):
        keys = []
        for cell in ("cell 1", "cell 1", "cell 2"):
            session.connection.cell_id = lambda cell=cell: cell
            keys.append(session.connection.access().key.reveal())
        return keys

    assert run(body) == [KEY, KEY, "sk-another-0123456789"]


def test_another_key_in_the_same_cell_counts(run, home, monkeypatch):
    """A variable that is set, and a key that login stores, count at once in the same cell."""
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
    """Twenty requests with the key in the CLI's file read it no oftener than three do."""
    save_key(KEY)
    read = []
    from runapi_magic.engine import credentials

    real = credentials._from_cli_file
    monkeypatch.setattr(credentials, "_from_cli_file", lambda env: read.append(1) or real(env))

    def count(size):
        async def body(session):
            await _batch(session, size)

        read.clear()
        run(body)
        return len(read)

    assert count(20) == count(3) <= 2
