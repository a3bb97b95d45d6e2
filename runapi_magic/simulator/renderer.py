"""Pictures on demand: which one a file name stands for, drawn off the event loop, kept for a while.

Nothing is drawn until it is fetched. Two worker threads draw, whatever the number of requests: more
would only queue for the interpreter and make the event loop wait its turn behind them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from .catalogue import LONG_SIDES

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from .records import Source, Task
    from .state import Simulator

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

CACHE_BYTES: Final = 64 * 2**20
"""Encoded pictures kept for the next request."""

ROUGH_FROM: Final = 50
"""Times as fast as life from which pictures are drawn roughly: else drawing takes the time."""

_WORKERS: Final = 2
_LONG_SIDE: Final = 1024


class Gallery:
    """Draws and keeps the pictures of one simulator."""

    def __init__(self, simulator: Simulator, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._simulator = simulator
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="simulator-art")
        self._under_way: dict[tuple[str, int], Future[bytes]] = {}

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call something slow on a worker thread."""
        return await asyncio.wrap_future(self._workers.submit(function, *args, **kwargs))

    async def output(self, task: Task, index: int) -> bytes:
        """The encoded picture; drawn once even when several requests want it at the same time."""
        name = (task.id, index)
        drawing = self._under_way.get(name)
        if drawing is None:
            drawing = self._workers.submit(self._output, task, index)
            self._under_way[name] = drawing
            drawing.add_done_callback(lambda _: self._under_way.pop(name, None))
        # One client that goes away must not take the picture from the others.
        return await asyncio.shield(asyncio.wrap_future(drawing))

    def source_bytes(self, source: Source) -> bytes:
        """The encoded source picture. Slow: for a worker thread."""
        if source.content is not None:
            return source.content
        if source.task_id is not None:
            return self._output(self._simulator.tasks[source.task_id], source.index)
        from runapi_magic.simulator.art import painting as art

        return art.encode(art.stand_in(source.url), "png")

    def _output(self, task: Task, index: int) -> bytes:
        name = (task.id, index)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        from runapi_magic.simulator.art import painting as art

        encoded = art.encode(self._picture(task, index), task.suffix)
        with self._lock:
            self._kept[name] = encoded
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._cache_bytes:
                self._kept.popitem(last=False)
        return encoded

    def _picture(self, task: Task, index: int) -> Image.Image:
        from runapi_magic.simulator.art import edits
        from runapi_magic.simulator.art import painting as art

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
            size = art.picture_size(ratio, long_side, prompt=task.prompt)
            transparent = _wants_transparency(task)
            return art.draw(
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
