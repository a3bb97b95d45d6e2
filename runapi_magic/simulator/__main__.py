"""``python -m runapi_magic.simulator``: run the simulator as a server.

When the server is ready, it prints one line with its URL on stdout.
"""

from __future__ import annotations

import argparse
import signal
import socket
from typing import TYPE_CHECKING, Any, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runapi_magic.simulator import faults
from runapi_magic.simulator.app import create_app
from runapi_magic.simulator.responses import TRANSPORT
from runapi_magic.simulator.state import Simulator

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence


class _DroppableProtocol(H11Protocol):
    """Lets the app close a connection without a response. ASGI itself cannot do this."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """Prints its URL when it is ready."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}", flush=True)  # noqa: T201 - clients read this line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runapi_magic.simulator",
        description="Serve a simulated RunAPI on this machine.",
        epilog=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=0, help="port; 0 (the default) selects a free one"
    )
    parser.add_argument(
        "--speed", type=float, default=20.0, help="speed of the tasks, relative to RunAPI (20)"
    )
    families = ("guide", "namespaced", "both")
    parser.add_argument("--family", choices=families, default="both", help="routes to serve (both)")
    parser.add_argument(
        "--fault", metavar="SPEC", action="append", default=[], help="add a fault; can be repeated"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the tasks' durations (0)"
    )
    parser.add_argument(
        "--balance-cents", type=int, default=10_000, help="credits at the start (10000)"
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=0,
        help="create requests per second and key; more get a 429 (0: no limit)",
    )
    return parser


def _stop(*_: Any) -> NoReturn:
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. A bad argument exits with status 2 and a message."""
    parser = _parser()
    given = parser.parse_args(arguments)
    # uvicorn raises the signal again after its shutdown. This handler makes the exit status 0.
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
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol. Without it, each response
    # waits about 40 ms for the acknowledgement of its headers.
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
