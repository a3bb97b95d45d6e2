"""A local simulation of RunAPI: its routes, slow tasks, images, prices and errors.

In process, without a socket::

    from runapi_magic.simulator import Simulator, create_app

    app = create_app(Simulator(speed=20))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://simulator.localhost"
    )

As a server: ``python -m runapi_magic.simulator --port 8000``.

Any key works, with three exceptions. A key that starts with ``bad`` gets a 401, a key that starts
with ``forbidden`` a 403, and a key that starts with ``broke`` has no credits and gets a 402.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runapi_magic.simulator.app import create_app
    from runapi_magic.simulator.state import Simulator

__all__ = ["Simulator", "create_app"]


def __getattr__(name: str) -> Any:
    # Starlette is imported on first use, not with the package.
    if name == "Simulator":
        from runapi_magic.simulator.state import Simulator

        return Simulator
    if name == "create_app":
        from runapi_magic.simulator.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
