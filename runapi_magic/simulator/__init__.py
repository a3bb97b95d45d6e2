"""A RunAPI that runs here: the same routes, tasks that take time, pictures, prices and errors.

In one process, without a socket::

    from runapi_magic.simulator import Simulator, create_app

    app = create_app(Simulator(speed=20))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://simulator.localhost"
    )

or as a server: ``python -m runapi_magic.simulator --port 8000``.

Any key is good, except that one starting with ``bad`` is refused (401), one starting with
``forbidden`` may not do anything (403) and one starting with ``broke`` has no credits (402).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app
    from .state import Simulator

__all__ = ["Simulator", "create_app"]


def __getattr__(name: str) -> Any:
    # Starlette is loaded when an app is made, not with the package.
    if name == "Simulator":
        from .state import Simulator

        return Simulator
    if name == "create_app":
        from .app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
