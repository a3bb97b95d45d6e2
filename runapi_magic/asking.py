"""Before money is spent: the price, the limit of a cell, and the word of whoever is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic.errors import BudgetError, InvalidRequestError
from runapi_magic.loop import Audience, audience

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.pipeline import Gate
    from runapi_magic.purse import Cost
    from runapi_magic.requests import ImageRequest
    from runapi_magic.session import Session
    from runapi_magic.widgets.confirm import Confirm


def gate_for(
    session: Session,
    requests: Sequence[ImageRequest],
    *,
    max_cost: float | None = None,
    asks: bool = True,
    waits: bool = False,
    since: float | None = 0.0,
) -> Gate | None:
    """Return what is to be awaited before requests are made; None where nothing is.

    Args:
        session: Knows prices and settings.
        requests: What is asked for.
        max_cost: USD that may not be crossed.
        asks: Whether many or dear pictures need a click, or --yes where nobody can click.
        waits: Whether the cell waits; a click might wait behind it.
        since: Unix time in seconds; what was asked for before is paid again. None: everything.

    Raises:
        InvalidRequestError: ``max_cost`` is no number.
    """
    if max_cost is not None:
        max_cost = _usd(max_cost)
    settings = session.settings
    count = sum(request.count for request in requests)
    estimates = [request.estimate for request in requests]
    usd = None if None in estimates else sum(one for one in estimates if one is not None)
    is_small = count <= settings.ask_above_count and (usd or 0.0) <= settings.ask_above_usd
    if max_cost is None and (is_small or not asks):
        return None
    confirm = _question(session) if asks and not is_small and not waits else None

    is_agreed = False  # one word is enough, also where a batch's failures are asked for again

    async def check(on_ask: Callable[[], None]) -> None:
        nonlocal is_agreed
        cost = await session.cost(requests, since=since, fetching=True)
        words = f"{cost}, simulated" if session.simulator else str(cost)
        if max_cost is not None and (cost.usd is None or not cost.usd <= max_cost):
            raise BudgetError(
                f"{words}, and the maximum cost is ${max_cost:.2f}.",
                todo="Ask for less, or allow a higher maximum cost.",
            )
        if not asks or is_agreed or not _is_much(cost, session):
            return
        if confirm is None:
            raise BudgetError(
                f"{words}. More than {settings.ask_above_count} pictures, or more than"
                f" ${settings.ask_above_usd:.2f}, need your word.",
                todo="Add --yes, or look first with --dry-run.",
            )
        on_ask()
        is_agreed = await confirm.ask(words)
        if not is_agreed:
            raise BudgetError(f"{words}: declined.", todo="Run the cell again to be asked again.")

    async def gate(on_ask: Callable[[], None]) -> None:
        try:
            await check(on_ask)
        finally:
            if confirm is not None:
                confirm.close()

    return gate


def _usd(amount: Any) -> float:
    try:
        return float(amount)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"max_cost is {amount!r:.60}, which is no amount of USD.", todo="Give a number."
        ) from None


def _question(session: Session) -> Confirm | None:
    """Return a question in the cell that runs now; None where nobody can click."""
    from runapi_magic import controls

    if audience() is not Audience.LIVE or not controls.are_possible(session):
        return None
    from runapi_magic.widgets.confirm import Confirm

    return Confirm()


def _is_much(cost: Cost, session: Session) -> bool:
    settings = session.settings
    return cost.new > settings.ask_above_count or (cost.usd or 0.0) > settings.ask_above_usd
