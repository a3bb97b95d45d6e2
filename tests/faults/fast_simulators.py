"""Simulators that draw tiny images: many of them in one process, each on its own port.

``python -m tests.faults.fast_simulators 4`` serves four and prints their URLs. Drawing takes most
of a simulator's time, and these tests do not need real drawings.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import random
import signal
import subprocess
import sys
from contextlib import contextmanager

import uvicorn
from PIL import Image

from runapi_magic.simulator import Simulator, create_app
from runapi_magic.simulator.__main__ import _DroppableProtocol
from runapi_magic.simulator.renderer import Renderer
from tests.conftest import ROOT, SimulatorServer

SPEED = 200.0
SIZE = (48, 36)


def tiny_image(_renderer, task, index):
    """Return a small PNG that is different for every task."""
    seed = int(hashlib.sha256(f"{task.id} {index}".encode()).hexdigest(), 16)
    noise = random.Random(seed).randbytes(SIZE[0] * SIZE[1] * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", SIZE, noise).save(buffer, "PNG")
    return buffer.getvalue()


class _Simulator(Simulator):
    """A simulator whose state leaves out the requests, which are many. The client records them."""

    def snapshot(self):
        return super().snapshot() | {"requests": []}


class _Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)  # noqa: T201 (`fast_simulators` reads it)

    @contextlib.contextmanager
    def capture_signals(self):
        yield


async def _serve(count):
    servers = [
        _Server(
            uvicorn.Config(
                create_app(_Simulator(speed=SPEED, seed=number, balance_cents=10_000_000)),
                port=0,
                http=_DroppableProtocol,
                lifespan="off",
                log_level="critical",
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        for number in range(count)
    ]
    loop = asyncio.get_running_loop()

    def stop():
        for server in servers:
            server.should_exit = True

    loop.add_signal_handler(signal.SIGTERM, stop)
    await asyncio.gather(*(server.serve() for server in servers))


@contextmanager
def fast_simulators(count):
    """Run ``count`` simulators in a separate process and yield them."""
    command = [sys.executable, "-m", "tests.faults.fast_simulators", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            urls = [process.stdout.readline().strip() for _ in range(count)]
            assert all(url.startswith("http://") for url in urls), urls
            yield [SimulatorServer(process, url) for url in urls]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


if __name__ == "__main__":
    Renderer._output = tiny_image
    asyncio.run(_serve(int(sys.argv[1])))
