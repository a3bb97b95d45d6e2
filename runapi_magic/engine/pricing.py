"""Calculate what requests cost before they are sent, and reserve the money under a budget."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation
from runapi_magic.engine.image_store import fetch_from_object_store
from runapi_magic.errors import BudgetError
from runapi_magic.media.files import is_intact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.backend import Service
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.budgets import Budgets
    from runapi_magic.journal.task_log import Journal

_DECIMALS = 6  # of USD


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of requests together.

    Attributes:
        images: Number of requested images.
        new: Number of images that are neither on disk nor running already, and cost money.
        usd: US dollars for the new images; None if the price is unknown.
        is_quote: Whether RunAPI quoted the price; else it is the catalogue's estimate.
    """

    images: int
    new: int
    usd: float | None
    is_quote: bool

    def __str__(self) -> str:
        free = self.images - self.new
        count = "1 image" if self.images == 1 else f"{self.images} images"
        what = count + (f", {free} of them cached or already running" if free else "")
        if self.usd is None:
            return f"{what}: price not known"
        if not self.new:
            return f"{what}: nothing to pay"
        return f"{what}: ${self.usd:.2f} ({'quoted' if self.is_quote else 'estimate'})"


class Pricing:
    """Prices requests, and reserves money for them under a budget.

    Args:
        journal: Knows which images are on disk and which tasks run.
        budgets: Knows what was spent, and what may be spent.
        record: Calls the journal and the budgets without blocking the loop.
    """

    def __init__(self, journal: Journal, budgets: Budgets, record: AsyncJournal) -> None:
        self._journal = journal
        self._budgets = budgets
        self._record = record

    async def cost(
        self,
        requests: Sequence[ImageRequest],
        service: Service,
        *,
        since: float | None = 0.0,
        fetching: bool = False,
    ) -> Cost:
        """Return the cost of requests. This only sends price quote requests.

        Args:
            requests: The requests, with the digests of their sources.
            service: The service that answers.
            since: Reuse only images that were requested after this Unix time in seconds; None
                reuses nothing.
            fetching: Whether to download images that are only in an object store, as the request
                itself does. If not, they count as cached without a check.
        """
        merged = _merge(requests)
        to_pay = []
        for request in merged:
            missing = await self._missing(request, service, since, fetching=fetching)
            if missing:
                to_pay.append(replace(request, count=missing))
        prices = await service.prices(to_pay)
        known = [price for price in prices if price is not None]
        # Rounded, because sums of cents are not exact and are compared with limits.
        usd = round(sum(price.usd for price in known), _DECIMALS)
        return Cost(
            sum(request.count for request in merged),
            sum(request.count for request in to_pay),
            usd if len(known) == len(prices) else None,
            is_quote=len(known) == len(prices) and all(price.is_quote for price in known),
        )

    async def _missing(
        self, request: ImageRequest, service: Service, since: float | None, *, fetching: bool
    ) -> int:
        """Return how many images of a request are neither on disk nor running already."""
        if since is None:
            return request.count
        origin = service.access.base_url
        if fetching:
            await fetch_from_object_store(self._record, request, origin, since)
        missing = await self._record(
            self._journal.count_missing,
            request,
            origin,
            usable=is_intact,
            since=since,
            stores_count=not fetching,
        )
        return request.count if missing is None else missing

    async def reserve(
        self,
        reservation: str,
        requests: Sequence[ImageRequest],
        service: Service,
        *,
        since: float | None = 0.0,
    ) -> None:
        """Reserve the cost of requests if there is a budget.

        Args:
            reservation: A unique ID, for ``release``.
            requests: The requests, with the digests of their sources.
            service: The service that answers.
            since: Reuse only images that were requested after this Unix time in seconds; None
                reuses nothing.

        Raises:
            BudgetError: The cost would exceed a budget, or it is unknown whether it would.
        """
        origin = service.access.base_url
        budgets = await self._record(self._budgets.budgets, origin)
        if budgets is None:
            await self.refuse_without_journal(origin)
        if not budgets:
            return
        cost = await self.cost(requests, service, since=since, fetching=True)
        if not cost.new:
            return
        if cost.usd is None:
            raise BudgetError(
                "There is a budget, but the price of this request is unknown.",
                todo="Use a model with a known price (%runapi models), or remove the budget:"
                " %runapi budget off.",
            )
        # Not cancelled halfway: nothing would release the reservation.
        reserved = await finish_despite_cancellation(
            self._record(self._budgets.reserve, reservation, origin, cost.usd)
        )
        if reserved is None:
            raise _spending_unknown()

    async def refuse_without_journal(self, origin: str) -> None:
        """Refuse to send requests without a journal if there is or may be a budget.

        Raises:
            BudgetError: There is or may be a budget.
        """
        if await asyncio.to_thread(self._budgets.may_have_budget, origin):
            raise _spending_unknown()

    async def release(self, reservation: str) -> None:
        """Release a reservation if there is one with this ID."""
        await self._record(self._budgets.release, reservation)


def _spending_unknown() -> BudgetError:
    return BudgetError(
        "There is or may be a budget, but the journal that records the spending cannot be used.",
        todo="Make the journal readable and writable (%runapi status shows the file). To continue"
        " without it: restart the kernel if the budget is for the session, or set"
        " RUNAPI_MAGIC_HOME to another folder if the budget is for the day.",
    )


def _merge(requests: Sequence[ImageRequest]) -> list[ImageRequest]:
    """Return the requests, with identical ones merged into one for more images."""
    by_fingerprint: dict[str, ImageRequest] = {}
    for request in requests:
        known = by_fingerprint.get(request.fingerprint)
        by_fingerprint[request.fingerprint] = (
            request if known is None else replace(known, count=known.count + request.count)
        )
    return list(by_fingerprint.values())
