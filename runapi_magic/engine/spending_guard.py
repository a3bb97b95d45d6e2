"""Check the cost of requests before they are sent: the limit of a cell, and a confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.errors import BudgetError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.pipeline import Gate
    from runapi_magic.engine.pricing import Cost
    from runapi_magic.engine.session import Session


class Question(Protocol):
    """Asks the user to confirm a cost.

    Attributes:
        again: What to do to get the question again, after the user declined.
    """

    again: str

    async def ask(self, question: str) -> bool:
        """Show the question and return the answer."""

    def close(self) -> None:
        """Remove the question."""


def gate_for(
    session: Session,
    requests: Sequence[ImageRequest],
    *,
    max_cost: float | None = None,
    asks: bool = True,
    question: Callable[[], Question | None] | None = None,
    since: float | None = 0.0,
) -> Gate | None:
    """Return a gate that requests must pass before they are sent; None if none is needed.

    Args:
        session: Knows prices and settings.
        requests: The requests.
        max_cost: The highest allowed cost in USD.
        asks: Whether many, expensive or unpriced images need confirmation: a click, or --yes if no
            click is possible.
        question: Creates the question that the user clicks on. If it is None or returns None, no
            click is possible.
        since: Reuse only images that were requested after this Unix time in seconds; None reuses
            nothing.

    Raises:
        InvalidRequestError: ``max_cost`` is not a number.
        MissingKeyError: There is no key; the cell shows no question.
        ConfigurationError: The key or the base URL is unusable.
    """
    if max_cost is not None:
        max_cost = _usd(max_cost)
    if max_cost is None and (not asks or _needs_no_quote(session, requests)):
        return None
    session.connection.require_key()
    shown_question = question() if asks and question is not None else None
    return _Gate(session, requests, max_cost, since, shown_question, asks=asks)


class _Gate:
    """Awaited before requests are sent; see ``gate_for``."""

    def __init__(
        self,
        session: Session,
        requests: Sequence[ImageRequest],
        max_cost: float | None,
        since: float | None,
        question: Question | None,
        *,
        asks: bool,
    ) -> None:
        self._session = session
        # Kept, because the user may turn the simulator on or off before these requests run.
        self._simulator = session.simulator
        self._requests = requests
        self._max_cost = max_cost
        self._since = since
        self._question = question
        # One answer counts for a batch's retries, too.
        self._is_confirmed = not asks

    async def __call__(self, on_ask: Callable[[], None]) -> None:
        """Return when the requests may be sent.

        Args:
            on_ask: Called before the user is asked.

        Raises:
            BudgetError: They cost too much, or the user declined.
        """
        try:
            await self._check(on_ask)
        finally:
            if self._question is not None:
                self._question.close()
                self._question = None  # a retry of the batch has no question to click on

    async def _check(self, on_ask: Callable[[], None]) -> None:
        session, max_cost = self._session, self._max_cost
        service = self._simulator or await session.connection.get_paid_service()
        cost = await session.cost(self._requests, since=self._since, fetching=True, service=service)
        cost_text = f"{cost}, simulated" if service.is_simulated else str(cost)
        if max_cost is not None and (cost.usd is None or not cost.usd <= max_cost):
            raise BudgetError(
                f"{cost_text}, and the maximum cost is ${max_cost:.2f}.",
                todo="Request less, or allow a higher maximum cost.",
            )
        if self._is_confirmed:
            return
        if _needs_confirmation(cost, session):
            await self._confirm(cost_text, on_ask)
        elif cost.usd is None:
            session.notice("The price of this request was not known when it was sent.")

    async def _confirm(self, cost_text: str, on_ask: Callable[[], None]) -> None:
        settings = self._session.settings
        if self._question is None:
            raise BudgetError(
                f"{cost_text}. Requests for more than {settings.ask_above_count} images, for more"
                f" than ${settings.ask_above_usd:.2f}, or for several images at an unknown price"
                " need confirmation.",
                todo="Add --yes, or see the price first with --dry-run.",
            )
        on_ask()
        self._is_confirmed = await self._question.ask(cost_text)
        if not self._is_confirmed:
            raise BudgetError(f"{cost_text}: declined.", todo=self._question.again)


def _usd(amount: Any) -> float:
    try:
        return float(amount)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"max_cost must be an amount of USD (got {amount!r:.60}).",
            todo="Use a number such as 0.5.",
        ) from None


def _needs_no_quote(session: Session, requests: Sequence[ImageRequest]) -> bool:
    """Whether the requests need no confirmation and should not wait for a quote.

    This is so for a single image if the catalogue knows its price, and the price is not above the
    limit for confirmations.
    """
    if sum(request.count for request in requests) > 1:
        return False
    return all(
        request.estimate is not None and request.estimate <= session.settings.ask_above_usd
        for request in requests
    )


def _needs_confirmation(cost: Cost, session: Session) -> bool:
    """Whether the user must confirm the cost: many, expensive or several unpriced images."""
    settings = session.settings
    if cost.usd is None and cost.new > 1:
        return True
    return cost.new > settings.ask_above_count or (cost.usd or 0.0) > settings.ask_above_usd
