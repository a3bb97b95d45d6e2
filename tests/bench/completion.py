"""From the poll that returns "completed" to the image in the notebook.

The images have a grain like photographs. They come from a server on loopback, in three sizes as
PNG and as JPEG. "ours" is everything: download to disk, check, preview, metadata, flush, rename,
and the display message. "bare" is only download, decode, resize and encode, in a thread. "original"
is a download and ``IPython.display.Image`` of the whole file, opened once with Pillow for its size.
"blocked" is the longest delay of a coroutine that runs every 2 ms.
``python -m tests.bench.completion``.
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

from runapi_magic.core.access import Access, Secret
from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest
from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.display.generation_view import image_bundle
from runapi_magic.engine.backend import remote_service
from runapi_magic.engine.generation import Generation, GenerationTask
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.journal.task_log import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from runapi_magic.engine.backend import Service

_SIZES = {"1k": (1024, 1024), "2k": (2048, 2048), "4k": (3840, 2160)}
_KINDS = ("png", "jpg")
_REPEATS = 7
_BEAT = 0.002  # seconds
_SIDE, _QUALITY = 768, 85  # default preview settings, for "bare"


def report() -> Iterator[str]:
    """Yield the lines of the table: medians of runs in turns."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        _draw(folder)
        yield (
            f"{'image':16}{'bare':>10}{'ours':>10}{'ratio':>7}{'CPU ratio':>11}{'original':>12}"
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
        image = Image.merge("RGB", bands)
        for kind in _KINDS:
            image.save(folder / f"{name}.{kind}", quality=90)


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
    session = Session(Settings(image_dir=str(folder / "images")), journal)
    service = remote_service(Access(address, Secret("sk-made-up"), "bench", "bench"))
    lines = []
    try:
        await _ours(session, service, f"{address}/1k.jpg")  # loads modules and opens connections
        for name in (f"{size}.{kind}" for kind in _KINDS for size in _SIZES):
            line = await _compare(session, service, name, f"{address}/{name}")
            lines.append(line)
    finally:
        await service.client.transport.close()
        journal.close()
    return lines


async def _compare(session: Session, service: Service, name: str, url: str) -> str:
    variants: dict[str, Callable[[], Awaitable[int]]] = {
        "bare": lambda: _bare(service, url),
        "ours": lambda: _ours(session, service, url),
        "original": lambda: _original(service, url),
    }
    runs: dict[str, list[_Run]] = {variant: [] for variant in variants}
    for _ in range(_REPEATS):
        for variant, action in variants.items():
            runs[variant].append(await _time(action))
    wall = {
        variant: statistics.median(run.wall for run in found) for variant, found in runs.items()
    }
    cpu = {variant: statistics.median(run.cpu for run in found) for variant, found in runs.items()}
    blocked = {
        variant: statistics.median(run.blocked for run in found) for variant, found in runs.items()
    }
    size = {variant: found[0].size / 1000 for variant, found in runs.items()}
    return (
        f"{name:16}{wall['bare']:7.0f} ms{wall['ours']:7.0f} ms{wall['ours'] / wall['bare']:7.2f}"
        f"{cpu['ours'] / cpu['bare']:11.2f}{wall['original']:9.0f} ms"
        f"{blocked['ours']:15.0f} ms{blocked['original']:11.0f} ms"
        f"{size['ours']:9.0f} kB{size['original']:9.0f} kB"
    )


class _Run(NamedTuple):
    """One run: times in milliseconds, and the size of the display message in bytes."""

    wall: float
    cpu: float
    blocked: float
    size: int


async def _time(action: Callable[[], Awaitable[int]]) -> _Run:
    gaps = [0.0]

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_BEAT)
            now = time.perf_counter()
            gaps.append(now - last - _BEAT)
            last = now

    heartbeat = asyncio.create_task(beat())
    await asyncio.sleep(2 * _BEAT)
    cpu, wall = time.process_time(), time.perf_counter()
    size = await action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(2 * _BEAT)
    heartbeat.cancel()
    return _Run(wall * 1000, cpu * 1000, max(gaps) * 1000, size)


def _message(data: dict[str, Any]) -> int:
    """Make a display message as the kernel does on its loop. Return its length."""
    return len(
        json.dumps(
            {
                mime: b64encode(value).decode() if isinstance(value, bytes) else value
                for mime, value in data.items()
            }
        )
    )


async def _ours(session: Session, service: Service, url: str) -> int:
    """Process a finished task's image. Return the size of its display message in bytes."""
    request = ImageRequest("a hill by the sea", "gpt-image-2")
    task = GenerationTask(secrets.token_hex(8), request, 1, expect(None))
    generation = Generation(request, [task])
    task = Task("tsk_1", TaskStatus.COMPLETED, image_urls=(url,), cost=0.06)
    shown = asyncio.get_running_loop().create_future()
    generation.subscribe(lambda: shown.set_result(_message(image_bundle(task.images[0]).data)))
    download = asyncio.create_task(
        session.pipeline.image_store.download(generation, task, service, task, ())
    )
    download.add_done_callback(lambda _: shown.done() or shown.cancel())  # after an error
    return await shown


async def _download(service: Service, url: str) -> bytes:
    async with service.client.transport.files.stream(url) as response:
        return await response.aread()


async def _bare(service: Service, url: str) -> int:
    content = await _download(service, url)

    def reduce() -> bytes:
        with Image.open(io.BytesIO(content)) as image:
            image.thumbnail((_SIDE, _SIDE))
            made = io.BytesIO()
            image.save(made, "JPEG", quality=_QUALITY)
            return made.getvalue()

    return _message({"image/jpeg": await asyncio.to_thread(reduce)})


async def _original(service: Service, url: str) -> int:
    content = await _download(service, url)
    with Image.open(io.BytesIO(content)) as image:
        assert image.width
    mime = "image/png" if url.endswith("png") else "image/jpeg"
    return _message({mime: content})


if __name__ == "__main__":
    for row in report():
        print(row)  # noqa: T201 (the result of the command)
