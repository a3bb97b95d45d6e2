"""Draws images on demand, in worker threads, and caches them.

An image is drawn when it is first downloaded, or when an edit of it is. Two worker threads draw,
however many requests wait: more threads would compete with the event loop for the interpreter.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from runapi_magic.simulator.catalog import LONG_SIDES

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from runapi_magic.simulator.records import Source, Task
    from runapi_magic.simulator.state import Simulator

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

CACHE_BYTES: Final = 64 * 2**20
"""Maximum total size of the cached images."""

ROUGH_FROM: Final = 50
"""From this speed on, images are drawn roughly: otherwise drawing takes most of the time."""

_WORKERS: Final = 2
_LONG_SIDE: Final = 1024


class Renderer:
    """Draws and caches the images of one simulator."""

    def __init__(self, simulator: Simulator, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._simulator = simulator
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="simulator-art")
        self._drawing: dict[tuple[str, int], Future[bytes]] = {}

    async def run_in_thread(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a slow function in a worker thread."""
        return await asyncio.wrap_future(self._workers.submit(function, *args, **kwargs))

    async def output(self, task: Task, index: int) -> bytes:
        """Return the encoded image. Simultaneous requests for it share one drawing."""
        name = (task.id, index)
        drawing = self._drawing.get(name)
        if drawing is None:
            drawing = self._workers.submit(self._output, task, index)
            self._drawing[name] = drawing
            drawing.add_done_callback(lambda _: self._drawing.pop(name, None))
        # When one client disconnects, the other clients still get the image.
        return await asyncio.shield(asyncio.wrap_future(drawing))

    def source_bytes(self, source: Source) -> bytes:
        """Return the encoded source image. Slow: call it in a worker thread."""
        if source.content is not None:
            return source.content
        if source.task_id is not None:
            return self._output(self._simulator.tasks[source.task_id], source.index)
        from runapi_magic.simulator.art import painting

        return painting.encode(painting.draw_placeholder(source.url), "png")

    def _output(self, task: Task, index: int) -> bytes:
        name = (task.id, index)
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
                return self._cache[name]
        from runapi_magic.simulator.art import painting

        encoded = painting.encode(self._draw(task, index), task.suffix)
        with self._lock:
            self._cache[name] = encoded
            while len(self._cache) > 1 and sum(map(len, self._cache.values())) > self._cache_bytes:
                self._cache.popitem(last=False)
        return encoded

    def _draw(self, task: Task, index: int) -> Image.Image:
        from runapi_magic.simulator.art import edits, painting

        body = task.body
        sources = [edits.decode(self.source_bytes(source), source.url) for source in task.sources]
        if task.contract.action == "upscale_image":
            return edits.enlarge(sources[0], int(body.get("upscale_factor") or 4))
        if task.contract.action == "remove_background":
            return edits.remove_background(sources[0])
        variation = task.variation * task.image_count + index
        ratio = body.get("aspect_ratio") or _default_ratio(task)
        long_side = LONG_SIDES.get(body.get("output_resolution") or "", _LONG_SIDE)
        if not sources:
            size = painting.image_size(ratio, long_side, prompt=task.prompt)
            transparent = _wants_transparency(task)
            return painting.draw(
                task.prompt,
                size,
                model=task.contract.model,
                variation=variation,
                transparent=transparent,
                rough=self._simulator.speed >= ROUGH_FROM and not transparent,
            )
        mask = edits.decode(self.source_bytes(task.mask), task.mask.url) if task.mask else None
        size = edits.edited_size(sources[0], ratio, long_side)
        return edits.edit(sources, task.prompt, size, mask=mask, variation=variation)


def _default_ratio(task: Task) -> str:
    return "16:9" if task.contract.service == "flux_kontext" and not task.sources else "auto"


def _wants_transparency(task: Task) -> bool:
    return task.contract.service == "gpt_image_2" and "transparent background" in (
        task.prompt.lower()
    )
