"""A clean environment and short pauses; simulators that a test has to itself."""

from __future__ import annotations

import asyncio
import gc
import ssl

import pytest

from runapi_magic.core import polling
from runapi_magic.engine import image_store as shelf
from runapi_magic.http import rate_limit as rates
from runapi_magic.http import retry as retrying
from tests.faults.quick import quick_simulators
from tests.faults.trial import Trial, Wire

AT_ONCE = 6


@pytest.fixture(autouse=True)
def _apart(home):
    """Nothing of the user's is read or written."""


@pytest.fixture(scope="module")
def patch():
    """A monkeypatch for all tests of a module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@pytest.fixture(scope="module")
def unencrypted(patch):
    """No certificates are read: nothing here is encrypted, and it takes longer than the rest."""
    patch.setattr("ssl.create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.fixture(scope="module")
def hurried(patch, unencrypted):
    """Pauses of hundredths of a second where they are up to this client."""
    patch.setattr(retrying, "_FIRST_BACKOFF", 0.01)
    patch.setattr(retrying, "_LONGEST_BACKOFF", 0.02)
    patch.setattr(rates, "_FIRST_SPACING", 0.01)
    patch.setattr(rates, "_SHORTEST_PAUSE", 0.01)
    patch.setattr(shelf, "_FIRST_PAUSE", 0.01)
    for name in ("_FIRST_LOOK", "_SHORTEST", "_LONGEST", "_SHORTEST_HINT"):
        patch.setattr(polling, name, 0.05)


@pytest.fixture(scope="module")
def try_all(hurried, patch, tmp_path_factory):
    """Run many trials, some at once; return their outcomes and what nobody handled."""
    wire = Wire(patch)
    folder = tmp_path_factory.mktemp("trials")

    def run(trials):
        """Take (name, specs, options of the trial); answer by name."""
        outcomes, unhandled = {}, []

        async def main():
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: unhandled.append(f"{context['message']} {context!r}")
            )
            waiting = list(enumerate(trials))

            async def work(server):
                while waiting:
                    number, (name, specs, options) = waiting.pop(0)
                    place = folder / f"{len(wire.sent)}-{number}"
                    trial = Trial(server, wire, place, f"{number} {name}", **options)
                    try:
                        outcomes[name] = await trial.run(*specs)
                    except Exception as error:  # noqa: BLE001 (shown at its own test)
                        outcomes[name] = error

            await asyncio.gather(*(work(server) for server in servers))
            gc.collect()

        with quick_simulators(AT_ONCE) as servers:
            asyncio.run(main())
        return outcomes, unhandled

    return run
