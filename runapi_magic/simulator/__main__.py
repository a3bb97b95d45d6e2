"""``python -m runapi_magic.simulator``: the simulator as a server.

The first and only line on stdout says where it listens, once it does.
"""

from __future__ import annotations

import argparse
import signal
import socket
from typing import TYPE_CHECKING, Any, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runapi_magic.simulator.responses import TRANSPORT

from . import faults
from .app import create_app
from .state import Simulator

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence


class _DroppableProtocol(H11Protocol):
    """Lets the app close a connection without an answer, which ASGI has no word for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """Says where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}", flush=True)  # noqa: T201 - the contract


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runapi_magic.simulator",
        description="Serve a simulated RunAPI on this machine.",
        epilog=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--speed", type=float, default=20.0, help="how many times faster (20)")
    families = ("guide", "namespaced", "both")
    parser.add_argument("--family", choices=families, default="both", help="routes to serve (both)")
    parser.add_argument(
        "--fault", metavar="SPEC", action="append", default=[], help="a fault; may come repeatedly"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the tasks' durations (0)")
    parser.add_argument(
        "--balance-cents", type=int, default=10_000, help="credits at the start (10000)"
    )
    parser.add_argument(
        "--rate", type=int, default=0, help="creates a second for each key; beyond, 429 (0: any)"
    )
    return parser


def _stop(*_: Any) -> NoReturn:
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; exit status 2 with a message for a bad argument."""
    parser = _parser()
    given = parser.parse_args(arguments)
    # uvicorn sends itself the signal again once it has shut down; that must not look like a crash.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    try:
        simulator = Simulator(
            speed=given.speed,
            family=given.family,
            faults=given.fault,
            seed=given.seed,
            balance_cents=given.balance_cents,
            rate=given.rate,
        )
    except ValueError as error:
        parser.error(str(error))
    family = socket.AF_INET6 if ":" in given.host else socket.AF_INET
    # asyncio turns off the gathering of small writes only where the protocol is named: else each
    # answer waits some 40 ms for the acknowledgement of its headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((given.host, given.port))
    except OSError as error:
        parser.error(f"cannot listen on {given.host}:{given.port}: {error.strerror}")
    config = uvicorn.Config(
        create_app(simulator),
        http=_DroppableProtocol,
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
