"""Looks at many tasks at once: CPU time for a look, and what it does to the loop's pulse.

A server in another process answers over TLS, 100 ms late, that a task is not done yet and is to be
looked at again in 2 s, and both sides do. Ours is the package's own looking at a task; the peer is
asyncio with one plain ``httpx.AsyncClient``. Every measurement has a process of its own.
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

from runapi_magic.core.polling import PollingPlan, expect
from runapi_magic.core.task import Task, TaskStatus
from runapi_magic.engine.settings import Access, Secret
from runapi_magic.http.client import Client, Created
from runapi_magic.http.transport import Transport
from runapi_magic.http.wait_for_task import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = 1, 10, 100, 1000
LATENCY, PAUSE = 0.1, 2.0  # seconds
_BEAT = 0.01  # seconds
_WARM_UP, _SECONDS = 8.0, 10.0  # the first looks open the connections, and are in step
_PATH = "/api/v1/gpt_image_2/text_to_image/{id}"


class _Late(asyncio.Protocol):
    """Answers every request after the latency that the task is under way."""

    _BODY = json.dumps({"id": "t", "status": "processing"}).encode()
    _ANSWER = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
        b"content-length: %d\r\n\r\n%s" % (PAUSE, len(_BODY), _BODY)
    )

    def connection_made(self, transport):
        self._transport, self._seen = transport, b""

    def data_received(self, data):
        self._seen += data
        *requests, self._seen = self._seen.split(b"\r\n\r\n")
        for _ in requests:
            asyncio.get_running_loop().call_later(LATENCY, self._transport.write, self._ANSWER)


async def _serve(certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Late, "127.0.0.1", 0, ssl=context, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 (for the parent)
    await server.serve_forever()


class _Steady(PollingPlan):
    """Looks as often as the peer does: what is compared is what a look costs."""

    def pause(self, _elapsed: float) -> float:
        return _pause()


def _pause() -> float:
    """Return a pause as PollingPlan has it: 10 % to either side, so that tasks are not in step."""
    return PAUSE * random.uniform(0.9, 1.1)


async def _ours(url: str, count: int, looked: list[float]) -> None:
    class Counting(Client):
        async def get(self, *given):
            look = await super().get(*given)
            looked.append(time.monotonic())
            return look

    client = Counting(Transport(Access(url, Secret("key"), "bench", "bench")))
    created = Created(Task("t", TaskStatus.PROCESSING), (_PATH.format(id="t"),), PAUSE)

    def nothing(_):
        """Nobody is told."""

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            plan = _Steady(lambda: expect("1k"), timeout=900)
            tasks.create_task(follow(client, created, plan, progress=nothing, notice=nothing))


async def _plain(url: str, count: int, looked: list[float]) -> None:
    async def look_again(client):
        while True:
            await asyncio.sleep(_pause())
            try:
                (await client.get(url + _PATH.format(id="t"))).json()
            except httpx.HTTPError:
                continue  # counts as no look
            looked.append(time.monotonic())

    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(look_again(client))


_WAYS = {"ours": _ours, "httpx": _plain}


async def _measure(way: str, url: str, count: int) -> None:
    """Print looks, CPU seconds, and the longest lags of a beat, in seconds."""
    looked: list[float] = []
    working = asyncio.create_task(_WAYS[way](url, count, looked))
    await asyncio.sleep(_WARM_UP)
    looked.clear()
    cpu = time.process_time()
    await asyncio.sleep(_SECONDS)
    used, count = time.process_time() - cpu, len(looked)
    lags, begun = [], time.monotonic()
    while time.monotonic() - begun < _SECONDS:
        before = time.monotonic()
        await asyncio.sleep(_BEAT)
        lags.append(time.monotonic() - before - _BEAT)
    if working.done():
        working.result()  # raises why
    lags.sort()
    print(json.dumps([count, used, lags[int(len(lags) * 0.99)], lags[-1]]))  # noqa: T201
    sys.stdout.flush()
    os._exit(0)  # a thousand connections need not be closed one by one


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server; yield the environment in which its certificate counts, with its address."""
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
    with tempfile.TemporaryDirectory() as place, _server(Path(place)) as environment:

        def measure(way: str, count: int) -> list[float]:
            command = [
                sys.executable,
                "-m",
                __spec__.name,
                way,
                environment["BENCH_URL"],
                str(count),
            ]
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True, timeout=300
            )
            return json.loads(done.stdout)

        yield (
            f"{'in flight':>9}  {'':6}{'looks a second':>15}{'CPU a look':>12}{'lag p99':>10}"
            f"{'longest':>10}"
        )
        for count in COUNTS:
            for way in ("ours", "httpx"):
                looks, cpu, p99, longest = measure(way, count)
                each = f"{cpu / looks * 1000:9.2f} ms" if looks else "-"
                yield (
                    f"{count:>9}  {way:6}{looks / _SECONDS:15.1f}{each:>12}"
                    f"{p99 * 1000:7.1f} ms{longest * 1000:7.0f} ms"
                )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certificate]:
            asyncio.run(_serve(certificate))
        case [way, url, count]:
            asyncio.run(_measure(way, url, int(count)))
        case _:
            for line in report():
                print(line, flush=True)  # noqa: T201 (a report)
