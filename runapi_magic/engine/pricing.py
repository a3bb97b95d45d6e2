"""What requests cost before they are sent, and whether that may be spent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation
from runapi_magic.engine.image_store import bring_back
from runapi_magic.errors import BudgetError
from runapi_magic.media.files import is_intact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.backend import Service
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.budgets import Budgets
    from runapi_magic.journal.task_log import Journal

_DIGITS = 6  # of USD


@dataclass(frozen=True, slots=True)
class Cost:
    """What requests cost together.

    Attributes:
        pictures: Number of pictures that are asked for.
        new: Those of them that are neither on disk nor under way, and are paid for.
        usd: US dollars for the new ones; None where the price is not known.
        is_quote: Whether the service said so; else the catalogue's figures, an estimate.
    """

    pictures: int
    new: int
    usd: float | None
    is_quote: bool

    def __str__(self) -> str:
        free = self.pictures - self.new
        counted = "1 picture" if self.pictures == 1 else f"{self.pictures} pictures"
        parts = [counted + (f", {free} of them from disk or under way already" if free else "")]
        if self.usd is None:
            parts.append("price not known")
        elif self.new:
            parts.append(f"${self.usd:.2f} ({'quoted' if self.is_quote else 'estimate'})")
        else:
            parts.append("nothing to pay")
        return ": ".join(parts)


class Pricing:
    """Prices requests, and sets money aside for them where there is a budget.

    Args:
        journal: Knows what is on disk and under way.
        budgets: Knows what was spent and may be.
        record: Calls both off the loop.
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
        """Return what requests cost. Nothing is sent but questions for prices.

        Args:
            requests: What is asked for, its sources known by content.
            service: What answers.
            since: Unix time in seconds; what was asked for before is paid again. None: everything.
            fetching: Whether to fetch what only an object store has, as the request itself does:
                for a price that is binding.
        """
        pictures, unpaid = 0, []
        for request in _together(requests):
            missing = request.count
            if since is not None:
                if fetching:
                    await bring_back(self._record, request, service.access.base_url, since)
                found = await self._record(
                    self._journal.count_missing,
                    request,
                    service.access.base_url,
                    usable=is_intact,
                    since=since,
                    stores_count=not fetching,
                )
                missing = request.count if found is None else found
            pictures += request.count
            if missing:
                unpaid.append(replace(request, count=missing))
        prices = await service.prices(unpaid)
        known = [price for price in prices if price is not None]
        # Sums of cents are not exact, and limits are compared with them.
        usd = round(sum(price.usd for price in known), _DIGITS)
        return Cost(
            pictures,
            sum(request.count for request in unpaid),
            usd if len(known) == len(prices) else None,
            is_quote=len(known) == len(prices) and all(price.is_quote for price in known),
        )

    async def reserve(
        self,
        reservation: str,
        requests: Sequence[ImageRequest],
        service: Service,
        *,
        since: float | None = 0.0,
    ) -> None:
        """Set aside what requests cost, where there is a budget.

        Args:
            reservation: A name of its own, to let go of it again.
            requests: What is asked for, its sources known by content.
            service: What answers.
            since: Unix time in seconds; what was asked for before is paid again. None: everything.

        Raises:
            BudgetError: It would cross a budget, or nobody can tell.
        """
        origin = service.access.base_url
        budgets = await self._record(self._budgets.budgets, origin)
        if budgets is None:
            await self.refuse_unrecorded(origin)
        if not budgets:
            return
        cost = await self.cost(requests, service, since=since, fetching=True)
        if not cost.new:
            return
        if cost.usd is None:
            raise BudgetError(
                "The price is not known, and there is a budget to be kept.",
                todo="Use a model with a price (%runapi models), or take the budget away:"
                " %runapi budget off.",
            )
        # To the end: what is held after a cancellation would never be freed.
        if (
            await finish_despite_cancellation(
                self._record(self._budgets.reserve, reservation, origin, cost.usd)
            )
            is None
        ):
            raise _cannot_tell()

    async def refuse_unrecorded(self, origin: str) -> None:
        """See to it that nothing is sent without a journal where there is a budget, or may be one.

        Raises:
            BudgetError: There is, or may be.
        """
        if await asyncio.to_thread(self._budgets.may_have_budget, origin):
            raise _cannot_tell()

    async def release(self, reservation: str) -> None:
        """Let go of what was set aside, where something was."""
        await self._record(self._budgets.release, reservation)


def _cannot_tell() -> BudgetError:
    return BudgetError(
        "There is a budget to be kept, or may be one, and the journal that knows what is spent"
        " cannot be used.",
        todo="Let the journal be read and written (%runapi status names the file). To go on without"
        " it: restart the kernel where the budget is the session's, or set RUNAPI_MAGIC_HOME to"
        " another folder where it is the day's.",
    )


def _together(requests: Sequence[ImageRequest]) -> list[ImageRequest]:
    """Return identical requests as one for so many pictures."""
    by_fingerprint: dict[str, ImageRequest] = {}
    for request in requests:
        known = by_fingerprint.get(request.fingerprint)
        by_fingerprint[request.fingerprint] = (
            request if known is None else replace(known, count=known.count + request.count)
        )
    return list(by_fingerprint.values())
