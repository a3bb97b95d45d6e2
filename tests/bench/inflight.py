"""Polls of many tasks at the same time: CPU time per poll, and the delays of the event loop.

A server in another process responds over TLS after 100 ms. Its response says that the task is not
done and should be polled again in 2 s; both sides do so. "ours" is the package's own polling.
"httpx" is asyncio with one plain ``httpx.AsyncClient``. Every measurement has its own process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trustme

from runapi_magic.core.access import Access, Secret
from runapi_magic.core.polling import PollingPlan, expect
from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.http.client import Client
from runapi_magic.http.results import CreatedTask
from runapi_magic.http.transport import Transport
from runapi_magic.http.wait_for_task import wait_for_task

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = 1, 10, 100, 1000
LATENCY, PAUSE = 0.1, 2.0  # seconds
_BEAT = 0.01  # seconds
_WARM_UP, _SECONDS = 8.0, 10.0  # the first polls open the connections, all at the same time
_PATH = "/api/v1/gpt_image_2/text_to_image/{id}"


class _SlowServer(asyncio.Protocol):
    """Responds to every request after the latency: the task is processing."""

    _BODY = json.dumps({"id": "t", "status": "processing"}).encode()
    _RESPONSE = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
        b"content-length: %d\r\n\r\n%s" % (PAUSE, len(_BODY), _BODY)
    )

    def connection_made(self, transport):
        self._transport, self._seen = transport, b""

    def data_received(self, data):
        self._seen += data
        *requests, self._seen = self._seen.split(b"\r\n\r\n")
        for _ in requests:
            asyncio.get_running_loop().call_later(LATENCY, self._transport.write, self._RESPONSE)


async def _serve(certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_SlowServer, "127.0.0.1", 0, ssl=context, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 (the parent reads it)
    await server.serve_forever()


class _Steady(PollingPlan):
    """Polls as often as the peer, so that only the cost of a poll differs."""

    def pause(self, _elapsed: float) -> float:
        return _pause()


def _pause() -> float:
    """Return a pause with 10 % jitter, as PollingPlan does, so that the polls spread out."""
    return PAUSE * random.uniform(0.9, 1.1)


async def _ours(url: str, count: int, polls: list[float]) -> None:
    class Counting(Client):
        async def get(self, *given):
            response = await super().get(*given)
            polls.append(time.monotonic())
            return response

    client = Counting(Transport(Access(url, Secret("key"), "bench", "bench")))
    created = CreatedTask(Task("t", TaskStatus.PROCESSING), (_PATH.format(id="t"),), PAUSE)

    def nothing(_):
        """Ignore progress and notices."""

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            plan = _Steady(lambda: expect("1k"), timeout=900)
            tasks.create_task(
                wait_for_task(client, created, plan, on_progress=nothing, on_notice=nothing)
            )


async def _plain(url: str, count: int, polls: list[float]) -> None:
    async def poll_forever(client):
        while True:
            await asyncio.sleep(_pause())
            try:
                (await client.get(url + _PATH.format(id="t"))).json()
            except httpx.HTTPError:
                continue  # not counted
            polls.append(time.monotonic())

    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(poll_forever(client))


_VARIANTS = {"ours": _ours, "httpx": _plain}


async def _measure(variant: str, url: str, count: int) -> None:
    """Print the number of polls, CPU seconds, and the p99 and maximum loop delay in seconds."""
    polls: list[float] = []
    working = asyncio.create_task(_VARIANTS[variant](url, count, polls))
    await asyncio.sleep(_WARM_UP)
    polls.clear()
    cpu = time.process_time()
    await asyncio.sleep(_SECONDS)
    used, count = time.process_time() - cpu, len(polls)
    lags, started = [], time.monotonic()
    while time.monotonic() - started < _SECONDS:
        before = time.monotonic()
        await asyncio.sleep(_BEAT)
        lags.append(time.monotonic() - before - _BEAT)
    if working.done():
        working.result()  # raises the error
    lags.sort()
    print(json.dumps([count, used, lags[int(len(lags) * 0.99)], lags[-1]]))  # noqa: T201
    sys.stdout.flush()
    os._exit(0)  # closing a thousand connections one by one takes too long


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server. Yield an environment with its URL in which its certificate is trusted."""
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    authority.cert_pem.write_to_path(folder / "ca.pem")
    command = [sys.executable, "-m", __spec__.name, "serve", str(folder / "server.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip()
            yield os.environ | {
                "SSL_CERT_FILE": str(folder / "ca.pem"),
                "BENCH_URL": f"https://127.0.0.1:{port}",
            }
        finally:
            process.terminate()


def report() -> Iterator[str]:
    """Yield the lines of the table."""
    with tempfile.TemporaryDirectory() as path, _server(Path(path)) as environment:

        def measure(variant: str, count: int) -> list[float]:
            command = [
                sys.executable,
                "-m",
                __spec__.name,
                variant,
                environment["BENCH_URL"],
                str(count),
            ]
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True, timeout=300
            )
            return json.loads(done.stdout)

        yield (
            f"{'in flight':>9}  {'':6}{'polls a second':>15}{'CPU a poll':>12}{'lag p99':>10}"
            f"{'longest':>10}"
        )
        for count in COUNTS:
            for variant in ("ours", "httpx"):
                polls, cpu, p99, longest = measure(variant, count)
                each = f"{cpu / polls * 1000:9.2f} ms" if polls else "-"
                yield (
                    f"{count:>9}  {variant:6}{polls / _SECONDS:15.1f}{each:>12}"
                    f"{p99 * 1000:7.1f} ms{longest * 1000:7.0f} ms"
                )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certificate]:
            asyncio.run(_serve(certificate))
        case [variant, url, count]:
            asyncio.run(_measure(variant, url, int(count)))
        case _:
            for line in report():
                print(line, flush=True)  # noqa: T201 (the result of the command)
