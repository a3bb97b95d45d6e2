"""Two worker processes on loopback, and a simulator that all processes use."""

from __future__ import annotations

import asyncio
import time

import pytest
from distributed import Client, LocalCluster

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.dask_driver import run_on_cluster
from runapi_magic.batch.item import Item
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from tests.conftest import KEY

TIMEOUT = 120.0  # seconds
_CHECK_INTERVAL = 0.05  # seconds between two checks


@pytest.fixture
def environment(home, monkeypatch, simulator_server):
    """Run a simulator and set its URL and a key in the environment."""
    monkeypatch.setenv("RUNAPI_BASE_URL", simulator_server.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    return simulator_server


@pytest.fixture
def workers(environment, tmp_path):
    """Return a client of a cluster of two processes with two threads each."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0",
            host="127.0.0.1", local_directory=str(tmp_path / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        client.run(_shorten_pauses)
        yield client


def _shorten_pauses():
    """Shorten the worker's own pauses."""
    from runapi_magic.core import polling
    from runapi_magic.engine import image_store

    polling._FIRST_POLL, polling._SHORTEST, polling._LONGEST = 0.1, 0.05, 0.1
    image_store._FIRST_PAUSE = 0.02


@pytest.fixture
def on_cluster(workers):
    """Return a function that runs a coroutine function with a new session.

    The coroutine function also gets a function that starts a batch of prompts on the cluster.
    """

    def run(body, **settings):
        async def main():
            session = Session(Settings(**settings))

            def begin(prompts, **options):
                items = [
                    Item(number, session.request(prompt)) for number, prompt in enumerate(prompts)
                ]
                loop = asyncio.get_running_loop()
                return run_on_cluster(Batch(items, **options), session, workers, loop)

            try:
                return await asyncio.wait_for(body(session, begin), TIMEOUT)
            finally:
                await session.service().client.transport.close()
                session.journal.close()

        return asyncio.run(main())

    return run


async def until(condition):
    """Wait until a condition is true, checked in a thread; fail after two minutes."""
    deadline = time.monotonic() + TIMEOUT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "the condition did not become true"
        await asyncio.sleep(_CHECK_INTERVAL)
