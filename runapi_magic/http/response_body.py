"""Read the bodies of responses: decode them in small pieces and require a minimum speed."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

ENCODING = "gzip"  # the only compression that requests accept

_GRACE = 135.0  # seconds: time to connect, and twice the longest silence that is allowed
_SLOWEST = 8_000  # bytes per second, after the grace
_TICK = 1.0  # seconds
_PIECE = 64 * 1024  # bytes that are decoded at a time
_LARGEST_BODY = 8 * 1024 * 1024  # bytes of JSON


class BodyError(Exception):
    """A body that cannot be read. The message says why."""


class Decoder:
    """Decode a body in pieces of at most 64 KB, even if a small input expands to much more.

    Args:
        encoding: The ``Content-Encoding`` of the response.

    Raises:
        BodyError: The request did not accept this encoding.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise BodyError(f"it is encoded as {encoding[:40]}, which was not requested")
        is_plain = encoding in {"", "identity"}
        # 32 detects the header: gzip or zlib.
        self._zlib = None if is_plain else zlib.decompressobj(32 + zlib.MAX_WBITS)

    def decode(self, raw: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of some bytes of the body.

        Raises:
            BodyError: The bytes are damaged.
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
    """Yield the decoded pieces of a body as they arrive.

    The simulator's transport has read the body already. Then there is one piece.

    Args:
        response: The response.
        moved: Called with the number of bytes each time that some arrive.

    Raises:
        BodyError: The body cannot be decoded.
    """
    if response.is_stream_consumed:
        yield response.content
        return
    decoder = Decoder(response.headers.get("content-encoding", ""))
    async for raw in response.aiter_raw():
        moved(len(raw))
        for piece in decoder.decode(raw):
            yield piece


async def read_body(response: httpx.Response, moved: Callable[[int], None]) -> bytes:
    """Return a whole body, but stop where it becomes larger than any JSON that RunAPI sends.

    Args:
        response: The response.
        moved: Called with the number of bytes each time that some arrive.

    Raises:
        BodyError: The body is too large or cannot be decoded.
    """
    body = bytearray()
    async for piece in pieces(response, moved):
        body += piece
        if len(body) > _LARGEST_BODY:
            raise BodyError(f"it is larger than {_LARGEST_BODY / 1024 / 1024:g} MB")
    return bytes(body)


def describe_body_error(error: BodyError | TimeoutError) -> str:
    """Return why a body could not be read, as the end of a sentence."""
    return "it arrives too slowly" if isinstance(error, TimeoutError) else str(error)


@asynccontextmanager
async def minimum_rate() -> AsyncIterator[Callable[[int], None]]:
    """Limit the time for a transfer to 135 s, plus one second for every 8 kB that are moved.

    Yields a function to call with each number of bytes that are moved. Time in which a long cell
    blocks the event loop does not count.

    Raises:
        TimeoutError: The time is over.
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
