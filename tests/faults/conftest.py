"""Fixtures for faults: a clean environment, short pauses, and simulators for many trials."""

from __future__ import annotations

import asyncio
import gc
import ssl

import pytest

from runapi_magic.core import polling, rate
from runapi_magic.engine import image_store
from runapi_magic.http import retry
from tests.faults.fast_simulators import fast_simulators
from tests.faults.trial import RequestRecorder, Trial

PARALLEL = 6


@pytest.fixture(autouse=True)
def _own_home(home):
    """Use an empty home and data folder, not those of the user."""


@pytest.fixture(scope="module")
def patch():
    """Return a monkeypatch for all tests of a module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@pytest.fixture(scope="module")
def no_certificates(patch):
    """Load no certificates: it is slow, and these tests use no encryption."""
    patch.setattr("ssl.create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.fixture(scope="module")
def short_pauses(patch, no_certificates):
    """Shorten this client's own pauses to hundredths of a second."""
    patch.setattr(retry, "_FIRST_BACKOFF", 0.01)
    patch.setattr(retry, "_LONGEST_BACKOFF", 0.02)
    patch.setattr(rate, "_FIRST_SPACING", 0.01)
    patch.setattr(rate, "_SHORTEST_PAUSE", 0.01)
    patch.setattr(image_store, "_FIRST_PAUSE", 0.01)
    for name in ("_FIRST_POLL", "_SHORTEST", "_LONGEST", "_SHORTEST_HINT"):
        patch.setattr(polling, name, 0.05)


@pytest.fixture(scope="module")
def run_trials(short_pauses, patch, tmp_path_factory):
    """Return a function that runs trials, some of them in parallel."""
    recorder = RequestRecorder(patch)
    folder = tmp_path_factory.mktemp("trials")

    def run(trials):
        """Run trials of (name, specs, options); return outcomes by name and unhandled errors."""
        outcomes, unhandled = {}, []

        async def main():
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: unhandled.append(f"{context['message']} {context!r}")
            )
            waiting = list(enumerate(trials))

            async def work(server):
                while waiting:
                    number, (name, specs, options) = waiting.pop(0)
                    path = folder / f"{len(recorder.sent)}-{number}"
                    trial = Trial(server, recorder, path, f"{number} {name}", **options)
                    try:
                        outcomes[name] = await trial.run(*specs)
                    except Exception as error:  # noqa: BLE001 (the trial's own test shows it)
                        outcomes[name] = error

            await asyncio.gather(*(work(server) for server in servers))
            gc.collect()

        with fast_simulators(PARALLEL) as servers:
            asyncio.run(main())
        return outcomes, unhandled

    return run
