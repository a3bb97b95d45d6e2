"""The service that answers requests: RunAPI, or a simulator in this process."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine.quotes import Quotes
from runapi_magic.errors import InvalidRequestError
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from runapi_magic.media.uploads import check_mask, encode_for_upload, upload_name

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence

    from runapi_magic.core.request import ImageRequest, Source
    from runapi_magic.http.rate_limit import Limiter

SIMULATOR_URL = "http://simulator.localhost"
_UPLOAD_LIFETIME = 3600.0  # seconds, if the service does not report how long it keeps an upload
_TRUSTED = 0.9  # the share of an upload's lifetime in which it is used again
_OUTPUT_LIFETIME = 20 * 3600  # seconds; the outputs of some models are kept for 24 hours


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a request.

    Attributes:
        usd: US dollars of all its tasks.
        is_quote: Whether RunAPI quoted the price; else it is the catalogue's estimate.
    """

    usd: float
    is_quote: bool


@dataclass(slots=True)
class Service:
    """RunAPI or a simulator, and the images that it has already.

    Attributes:
        access: The base URL and the key.
        client: Makes the HTTP calls.
        speed: How many times faster than RunAPI the simulator is; 0 for RunAPI.
    """

    access: Access
    client: Client
    speed: float = 0.0
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)
    # One dict for each loop, because an asyncio lock works on one loop only.
    _uploading: WeakKeyDictionary[AbstractEventLoop, dict[str, asyncio.Lock]] = field(
        default_factory=WeakKeyDictionary
    )
    _quotes: Quotes = field(init=False)

    def __post_init__(self) -> None:
        """Create the quotes, which this service answers."""
        self._quotes = Quotes(self.client.quote)

    @property
    def is_simulated(self) -> bool:
        """Whether this is a simulator in this process."""
        return self.speed > 0

    def remember_output(self, digest: str, url: str) -> None:
        """Remember the service's own URL of an image, so that it need not be uploaded."""
        self._known[digest] = url, time.monotonic() + _OUTPUT_LIFETIME

    async def price(self, request: ImageRequest) -> Price | None:
        """Return the price of a request; see ``prices``."""
        return (await self.prices([request]))[0]

    async def prices(self, requests: Sequence[ImageRequest]) -> list[Price | None]:
        """Return the prices of requests: quotes, which are cached for minutes, or estimates.

        A price is None if neither is known. This takes 5 s at most. It sends quote requests only,
        which need no key.
        """
        await self._quotes.ask(
            (request, count) for request in requests for count in request.task_counts
        )
        return [self.known_price(request) for request in requests]

    def known_price(self, request: ImageRequest) -> Price | None:
        """Return the price of a request without a quote request, None if it is unknown."""
        quotes = [self._quotes.known(request, count) for count in request.task_counts]
        known = [usd for usd in quotes if usd is not None]
        if len(known) == len(quotes):
            return Price(sum(known), is_quote=True)
        usd = request.estimate
        return None if usd is None else Price(usd, is_quote=False)

    def expected_price(self, request: ImageRequest, count: int) -> float | None:
        """Return the price of one task with this number of images, None if it is unknown."""
        usd = self._quotes.known(request, count)
        if usd is not None:
            return usd
        return request.catalogue.estimate({**request.fields, "output_count": count})

    async def url_of(
        self,
        source: Source,
        on_progress: Callable[[float], None] | None = None,
        *,
        is_mask: bool = False,
    ) -> str:
        """Return the URL of a source for the service; upload the source if necessary.

        Args:
            source: The source.
            on_progress: Called with the share that is uploaded, 0 to 1.
            is_mask: Whether it is a mask, which must be a PNG.

        Raises:
            InvalidRequestError: The source's file is missing, changed or damaged.
            RunAPIError: The upload failed.
        """
        if source.url is not None:
            return source.url
        key = f"mask {source.digest}" if is_mask else source.digest
        locks = self._uploading.setdefault(asyncio.get_running_loop(), {})
        async with locks.setdefault(key, asyncio.Lock()):
            url, expires = self._known.get(key, ("", 0.0))
            if time.monotonic() >= expires:
                content, kind = await asyncio.to_thread(_encoded, source, is_mask=is_mask)
                name = upload_name(source.path, kind)
                upload = await self.client.upload(content, name, on_progress)
                lifetime = _UPLOAD_LIFETIME if upload.lifetime is None else upload.lifetime
                url = upload.url
                self._known[key] = url, time.monotonic() + lifetime * _TRUSTED
            return url


def check_mask_of(request: ImageRequest) -> None:
    """Check the mask of a request, and its size against the first source. Blocking.

    A mask or source that is a URL is not checked.

    Raises:
        InvalidRequestError: The mask does not fit, or a file is missing, changed or damaged.
    """
    mask, source = request.mask, next(iter(request.sources), None)
    if mask is not None and mask.url is None:
        content = None if source is None or source.url is not None else _read(source)
        check_mask(_read(mask), mask.label, content)


def _encoded(source: Source, *, is_mask: bool) -> tuple[bytes, str]:
    return encode_for_upload(_read(source), source.label, is_mask=is_mask)


def _read(source: Source) -> bytes:
    if source.content is not None:
        return source.content
    if source.path is None:
        raise InvalidRequestError(
            f"The source image {source.label} was only in memory and is lost.",
            todo="Run the cell again.",
        )
    try:
        content = source.path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"The file {source.path} cannot be read now ({error.strerror}).",
            todo="Check the path.",
        ) from None
    if hashlib.sha256(content).hexdigest() != source.digest:
        raise InvalidRequestError(
            f"The file {source.path} was changed before it was uploaded.",
            todo="Run the cell again. If a loop writes the file again for each edit, await each"
            " edit, or pass the image instead of its path.",
        )
    return content


def remote_service(access: Access, limiter: Limiter | None = None) -> Service:
    """Return the service for a key and base URL.

    Args:
        access: The base URL and the key.
        limiter: The rate limiter; by default a new one.
    """
    return Service(access, Client(Transport(access, limiter=limiter)))


def simulated_service(speed: float) -> Service:
    """Return a simulator in this process: no key, no network, no cost.

    Args:
        speed: How many times faster than RunAPI it is, more than 0.

    Raises:
        InvalidRequestError: The speed is not a finite number of more than 0.
    """
    if not 0 < speed < math.inf:
        raise InvalidRequestError(
            f"The speed must be a finite number of more than 0 (got {speed:g}).",
            todo="Use a number such as 10.",
        )
    app: Any
    from runapi_magic.simulator import Simulator, create_app

    app = create_app(Simulator(speed=speed))
    access = Access(SIMULATOR_URL, Secret("simulated-key"), "simulator", "simulator")
    return Service(access, Client(Transport(access, app)), speed)
