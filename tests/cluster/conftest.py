"""Two worker processes on loopback, and a simulator server that all processes ask."""

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

PATIENCE = 120.0  # seconds
_PAUSE = 0.05  # seconds between two looks


@pytest.fixture
def environment(home, monkeypatch, simulator_server):
    """A server, and an environment from which everybody knows its address and a key."""
    monkeypatch.setenv("RUNAPI_BASE_URL", simulator_server.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    return simulator_server


@pytest.fixture
def workers(environment, tmp_path):
    """A client of a cluster of two processes with two threads each."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0",
            host="127.0.0.1", local_directory=str(tmp_path / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        client.run(_hurry)
        yield client


def _hurry():
    """Shorten a worker's pauses that are the client's own choice."""
    from runapi_magic.core import polling
    from runapi_magic.engine import image_store as shelf

    polling._FIRST_LOOK, polling._SHORTEST, polling._LONGEST = 0.1, 0.05, 0.1
    shelf._FIRST_PAUSE = 0.02


@pytest.fixture
def on_cluster(workers):
    """Run a coroutine function with a new session, as a kernel that was just started has it.

    It also gets a function that starts a batch of prompts on the cluster.
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
                return await asyncio.wait_for(body(session, begin), PATIENCE)
            finally:
                await session.service().client.transport.close()
                session.journal.close()

        return asyncio.run(main())

    return run


async def until(condition):
    """Wait until a condition that is looked at in a thread holds; fail after two minutes."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(_PAUSE)
