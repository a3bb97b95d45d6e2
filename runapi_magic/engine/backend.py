"""What answers: RunAPI, or a simulator in this process."""

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
_UPLOAD_LIFETIME = 3600.0  # seconds, where the service does not say how long it keeps an upload
_TRUSTED = 0.9  # of that time
_OUTPUT_LIFETIME = 20 * 3600  # seconds; some models' outputs are kept for 24 hours


@dataclass(frozen=True, slots=True)
class Price:
    """What a request costs.

    Attributes:
        usd: US dollars of all its tasks.
        is_quote: Whether the service said so; else it is the catalogue's figure, an estimate.
    """

    usd: float
    is_quote: bool


@dataclass(slots=True)
class Service:
    """What answers, and which pictures it has already.

    Attributes:
        access: Base URL and key.
        client: Its calls.
        speed: How much faster than life the simulator in this process is; 0: it is no simulator.
    """

    access: Access
    client: Client
    speed: float = 0.0
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)
    # By loop: a lock that was waited for belongs to its loop for good.
    _uploading: WeakKeyDictionary[AbstractEventLoop, dict[str, asyncio.Lock]] = field(
        default_factory=WeakKeyDictionary
    )
    _quotes: Quotes = field(init=False)

    def __post_init__(self) -> None:
        """Ask this service for its quotes."""
        self._quotes = Quotes(self.client.quote)

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator in this process answers."""
        return self.speed > 0

    def remember_output(self, digest: str, url: str) -> None:
        """Note that the service has a picture at an address of its own."""
        self._known[digest] = url, time.monotonic() + _OUTPUT_LIFETIME

    async def price(self, request: ImageRequest) -> Price | None:
        """Return what a request costs; see ``prices``."""
        return (await self.prices([request]))[0]

    async def prices(self, requests: Sequence[ImageRequest]) -> list[Price | None]:
        """Return what requests cost: by quotes, kept for minutes, or by the catalogue.

        Takes 5 s at most. None where neither knows. Nothing is sent but the question; that needs no
        key.
        """
        await self._quotes.ask(
            (request, count) for request in requests for count in request.task_counts
        )
        return [self.known_price(request) for request in requests]

    def known_price(self, request: ImageRequest) -> Price | None:
        """Return what a request costs as far as that is known without asking."""
        quotes = [self._quotes.known(request, count) for count in request.task_counts]
        known = [usd for usd in quotes if usd is not None]
        if len(known) == len(quotes):
            return Price(sum(known), is_quote=True)
        usd = request.estimate
        return None if usd is None else Price(usd, is_quote=False)

    def expected_price(self, request: ImageRequest, count: int) -> float | None:
        """Return the price of one task of so many pictures, as far as it is known already."""
        usd = self._quotes.known(request, count)
        if usd is not None:
            return usd
        return request.catalogue.estimate({**request.fields, "output_count": count})

    async def address(
        self,
        source: Source,
        uploaded: Callable[[float], None] | None = None,
        *,
        is_mask: bool = False,
    ) -> str:
        """Return an address under which the service finds a source, uploading it if need be.

        Args:
            source: The source.
            uploaded: Told the share that is uploaded, 0 to 1.
            is_mask: Whether it is a mask, which has to be a PNG.

        Raises:
            InvalidRequestError: The source's file is gone, changed or damaged.
            RunAPIError: The upload failed.
        """
        if source.url is not None:
            return source.url
        known = f"mask {source.digest}" if is_mask else source.digest
        locks = self._uploading.setdefault(asyncio.get_running_loop(), {})
        async with locks.setdefault(known, asyncio.Lock()):
            url, good_until = self._known.get(known, ("", 0.0))
            if time.monotonic() >= good_until:
                content, kind = await asyncio.to_thread(_encoded, source, is_mask=is_mask)
                name = upload_name(source.path, kind)
                made = await self.client.upload(content, name, uploaded)
                lifetime = _UPLOAD_LIFETIME if made.lifetime is None else made.lifetime
                url = made.url
                self._known[known] = url, time.monotonic() + lifetime * _TRUSTED
            return url


def check_mask_of(request: ImageRequest) -> None:
    """Check a request's mask against its first source, as far as they are at hand. Blocking.

    Raises:
        InvalidRequestError: The mask does not fit, or a file is gone, changed or damaged.
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
            f"The source picture {source.label} was in memory only and is gone.",
            todo="Run the cell again.",
        )
    try:
        content = source.path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"The file {source.path} cannot be read any more ({error.strerror}).",
            todo="Check the path.",
        ) from None
    if hashlib.sha256(content).hexdigest() != source.digest:
        raise InvalidRequestError(
            f"The file {source.path} was changed before it was uploaded.",
            todo="Run the cell again. To edit a file that changes in a loop, await each edit, or"
            " give the picture itself in place of its path.",
        )
    return content


def remote_service(access: Access, limiter: Limiter | None = None) -> Service:
    """Return the service that key and base URL name.

    Args:
        access: Base URL and key.
        limiter: Says when a request may leave; by default one of its own.
    """
    return Service(access, Client(Transport(access, limiter=limiter)))


def simulated_service(speed: float) -> Service:
    """Return a simulator in this process: no key, no network, no cost.

    Args:
        speed: How much faster than life it is, more than 0.

    Raises:
        InvalidRequestError: The speed is not more than 0, or infinite.
    """
    if not 0 < speed < math.inf:
        raise InvalidRequestError(
            f"{speed:g} is no speed.", todo="Use a number above 0, such as 10."
        )
    app: Any
    from runapi_magic.simulator import Simulator, create_app

    app = create_app(Simulator(speed=speed))
    access = Access(SIMULATOR_URL, Secret("simulated-key"), "simulator", "simulator")
    return Service(access, Client(Transport(access, app)), speed)
