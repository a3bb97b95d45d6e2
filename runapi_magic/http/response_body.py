"""The bodies of answers: decoded in small pieces, and not slower than a minimum rate."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

ENCODING = "gzip"  # what is asked for where an answer may be compressed

_GRACE = 135.0  # seconds: to connect, and twice the longest silence that is waited out
_SLOWEST = 8_000  # bytes a second, beyond that
_TICK = 1.0  # seconds
_PIECE = 64 * 1024  # bytes that are decoded at a time


class BodyError(Exception):
    """A body that cannot be decoded; the message says why."""


class Decoder:
    """Decodes a body in pieces of at most 64 KB, whatever a small piece stands for.

    Args:
        encoding: The answer's ``Content-Encoding``.

    Raises:
        BodyError: It is none that was asked for.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise BodyError(f"it is encoded as {encoding[:40]}, which was not asked for")
        # 32: gzip's or zlib's header, as it comes.
        is_plain = encoding in {"", "identity"}
        self._zlib = None if is_plain else zlib.decompressobj(32 + zlib.MAX_WBITS)

    def decode(self, raw: bytes) -> Iterator[bytes]:
        """Yield what some bytes of the body stand for.

        Raises:
            BodyError: They are damaged.
        """
        if self._zlib is None:
            yield raw
            return
        try:
            while piece := self._zlib.decompress(raw, _PIECE):
                yield piece
                raw = self._zlib.unconsumed_tail
        except zlib.error as error:
            raise BodyError(f"it is damaged ({error})") from None


async def pieces(response: httpx.Response, moved: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Yield a body decoded, as it comes; whole where its transport has read it already.

    Args:
        response: The answer.
        moved: Told each number of bytes that came.

    Raises:
        BodyError: It cannot be decoded.
    """
    if response.is_stream_consumed:
        yield response.content
        return
    decoder = Decoder(response.headers.get("content-encoding", ""))
    async for raw in response.aiter_raw():
        moved(len(raw))
        for piece in decoder.decode(raw):
            yield piece


@asynccontextmanager
async def minimum_rate() -> AsyncIterator[Callable[[int], None]]:
    """Let what is done inside take 135 s, and a second more for every 8 kB that are moved.

    Yields what is to be told of each number of bytes. Time in which a long cell keeps the loop
    busy does not count.

    Raises:
        TimeoutError: It took longer.
    """
    loop = asyncio.get_running_loop()
    deadline = asyncio.timeout(None)
    timer: asyncio.TimerHandle | None = None
    spent, moved = 0.0, 0

    def add(count: int) -> None:
        nonlocal moved
        moved += count

    def tick() -> None:
        nonlocal spent, timer
        timer = loop.call_later(_TICK, tick)
        spent += _TICK
        if spent > _GRACE + moved / _SLOWEST:
            timer.cancel()
            deadline.reschedule(loop.time())

    timer = loop.call_later(_TICK, tick)
    try:
        async with deadline:
            yield add
    finally:
        timer.cancel()
