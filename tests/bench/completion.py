"""A finished picture's way home: from the look that says completed to the picture in the notebook.

Pictures with the grain of photographs come from a server on loopback, three sizes as PNG and as
JPEG. "ours" is the whole way: download to disk, check, preview, provenance, flush, name, and the
display's message. "bare" is no more than download, decode, resize and encode, in a thread.
"original" is a download and ``IPython.display.Image`` of what came, opened once with Pillow for its
size, as a notebook does it. "blocked" is the longest time for which a coroutine that wants to run
every 2 ms could not. ``python -m tests.bench.home``.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageChops

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest
from runapi_magic.core.task import Task, TaskStatus
from runapi_magic.display.generation_view import picture_bundle
from runapi_magic.engine.backend import remote_service
from runapi_magic.engine.generation import Generation, Part
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Access, Secret, Settings
from runapi_magic.journal.task_log import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from runapi_magic.engine.backend import Service

_SIZES = {"1k": (1024, 1024), "2k": (2048, 2048), "4k": (3840, 2160)}
_KINDS = ("png", "jpg")
_REPEATS = 7
_BEAT = 0.002  # seconds
_SIDE, _QUALITY = 768, 85  # the settings' defaults, for the bare way


def report() -> Iterator[str]:
    """Yield the lines of the table; medians, the ways in turns."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _draw(folder)
        yield (
            f"{'picture':16}{'bare':>10}{'ours':>10}{'ratio':>7}{'CPU ratio':>11}{'original':>12}"
            f"{'blocked by ours':>18}{'by original':>14}{'notebook':>12}{'original':>12}"
        )
        with _serve(folder) as address:
            yield from asyncio.run(_measure(folder, address))


def _draw(folder: Path) -> None:
    for name, (width, height) in _SIZES.items():
        bands = []
        for turn in range(3):
            coarse = Image.effect_noise((width // 16, height // 16), 90).resize((width, height))
            slope = Image.linear_gradient("L").rotate(90 * turn).resize((width, height))
            fine = Image.effect_noise((width, height), 8)
            bands.append(ImageChops.add(ImageChops.blend(coarse, slope, 0.6), fine, 2))
        picture = Image.merge("RGB", bands)
        for kind in _KINDS:
            picture.save(folder / f"{name}.{kind}", quality=90)


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().partition(" port ")[2].split()[0]
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def _measure(folder: Path, address: str) -> list[str]:
    journal = Journal(folder / "data")
    session = Session(Settings(image_dir=str(folder / "pictures")), journal)
    service = remote_service(Access(address, Secret("sk-made-up"), "bench", "bench"))
    lines = []
    try:
        await _ours(session, service, f"{address}/1k.jpg")  # imports and connections
        for name in (f"{size}.{kind}" for kind in _KINDS for size in _SIZES):
            line = await _compare(session, service, name, f"{address}/{name}")
            lines.append(line)
    finally:
        await service.client.transport.close()
        journal.close()
    return lines


async def _compare(session: Session, service: Service, name: str, url: str) -> str:
    ways: dict[str, Callable[[], Awaitable[int]]] = {
        "bare": lambda: _bare(service, url),
        "ours": lambda: _ours(session, service, url),
        "original": lambda: _original(service, url),
    }
    runs: dict[str, list[_Run]] = {way: [] for way in ways}
    for _ in range(_REPEATS):
        for way, go in ways.items():
            runs[way].append(await _timed(go))
    wall = {way: statistics.median(run.wall for run in found) for way, found in runs.items()}
    cpu = {way: statistics.median(run.cpu for run in found) for way, found in runs.items()}
    blocked = {way: statistics.median(run.blocked for run in found) for way, found in runs.items()}
    size = {way: found[0].size / 1000 for way, found in runs.items()}
    return (
        f"{name:16}{wall['bare']:7.0f} ms{wall['ours']:7.0f} ms{wall['ours'] / wall['bare']:7.2f}"
        f"{cpu['ours'] / cpu['bare']:11.2f}{wall['original']:9.0f} ms"
        f"{blocked['ours']:15.0f} ms{blocked['original']:11.0f} ms"
        f"{size['ours']:9.0f} kB{size['original']:9.0f} kB"
    )


class _Run(NamedTuple):
    """One way, gone once: milliseconds, and the bytes of the display in the notebook."""

    wall: float
    cpu: float
    blocked: float
    size: int


async def _timed(go: Callable[[], Awaitable[int]]) -> _Run:
    gaps = [0.0]

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_BEAT)
            now = time.perf_counter()
            gaps.append(now - last - _BEAT)
            last = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(2 * _BEAT)
    cpu, wall = time.process_time(), time.perf_counter()
    size = await go()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(2 * _BEAT)
    heart.cancel()
    return _Run(wall * 1000, cpu * 1000, max(gaps) * 1000, size)


def _message(data: dict[str, Any]) -> int:
    """Make a display's message, as the kernel does on the loop; return its length."""
    return len(
        json.dumps(
            {
                mime: b64encode(value).decode() if isinstance(value, bytes) else value
                for mime, value in data.items()
            }
        )
    )


async def _ours(session: Session, service: Service, url: str) -> int:
    """Bring a finished task's picture home; return the bytes of its display."""
    request = ImageRequest("a hill by the sea", "gpt-image-2")
    part = Part(secrets.token_hex(8), request, 1, expect(None))
    generation = Generation(request, [part])
    task = Task("tsk_1", TaskStatus.COMPLETED, image_urls=(url,), cost=0.06)
    shown = asyncio.get_running_loop().create_future()
    generation.subscribe(lambda: shown.set_result(_message(picture_bundle(part.images[0]).data)))
    fetching = asyncio.create_task(
        session.pipeline.shelf.fetch(generation, part, service, task, ())
    )
    fetching.add_done_callback(lambda _: shown.done() or shown.cancel())  # it failed
    return await shown


async def _download(service: Service, url: str) -> bytes:
    async with service.client.transport.stream(url) as response:
        return await response.aread()


async def _bare(service: Service, url: str) -> int:
    content = await _download(service, url)

    def reduce() -> bytes:
        with Image.open(io.BytesIO(content)) as picture:
            picture.thumbnail((_SIDE, _SIDE))
            made = io.BytesIO()
            picture.save(made, "JPEG", quality=_QUALITY)
            return made.getvalue()

    return _message({"image/jpeg": await asyncio.to_thread(reduce)})


async def _original(service: Service, url: str) -> int:
    content = await _download(service, url)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width
    mime = "image/png" if url.endswith("png") else "image/jpeg"
    return _message({mime: content})


if __name__ == "__main__":
    for row in report():
        print(row)  # noqa: T201 (a report)
