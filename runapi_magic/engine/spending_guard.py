"""Before money is spent: the price, the limit of a cell, and the word of whoever is there."""

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
        again: How the user can be asked again.
    """

    again: str

    async def ask(self, question: str) -> bool:
        """Show the question, and return the answer."""

    def close(self) -> None:
        """Take the question away."""


def gate_for(
    session: Session,
    requests: Sequence[ImageRequest],
    *,
    max_cost: float | None = None,
    asks: bool = True,
    question: Callable[[], Question | None] | None = None,
    since: float | None = 0.0,
) -> Gate | None:
    """Return what is to be awaited before requests are made; None where nothing is.

    Args:
        session: Knows prices and settings.
        requests: What is asked for.
        max_cost: USD that may not be crossed.
        asks: Whether requests that are many, dear or of unknown price need a click, or --yes where
            no click is possible.
        question: Makes the question that the user clicks on; where it is None, or returns None,
            no click is possible.
        since: Unix time in seconds; what was asked for before is paid again. None: everything.

    Raises:
        InvalidRequestError: ``max_cost`` is no number.
        MissingKeyError: There is no key; no question is left behind in the cell.
        ConfigurationError: The base URL is unusable.
    """
    if max_cost is not None:
        max_cost = _usd(max_cost)
    if max_cost is None and (not asks or _is_sure(session, requests)):
        return None
    if session.simulator is None and not session.connection.asks_colab:
        session.connection.access().require_key()
    asked = question() if asks and question is not None else None
    return _Gate(session, requests, max_cost, since, asked, asks=asks)


class _Gate:
    """What is awaited before requests are made; see ``gate_for``."""

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
        # A simulator that is turned on or off meanwhile answers other requests, and not these.
        self._simulator = session.simulator
        self._requests = requests
        self._max_cost = max_cost
        self._since = since
        self._question = question
        # One answer is enough, also where a batch's failures are asked for again.
        self._is_agreed = not asks

    async def __call__(self, on_ask: Callable[[], None]) -> None:
        """Return when the requests may be made.

        Args:
            on_ask: Called before the user is asked.

        Raises:
            BudgetError: They may not.
        """
        try:
            await self._check(on_ask)
        finally:
            if self._question is not None:
                self._question.close()
                self._question = None  # a later run of this gate has nothing to click on

    async def _check(self, on_ask: Callable[[], None]) -> None:
        session, most = self._session, self._max_cost
        service = self._simulator or await session.connection.get_paid_service()
        cost = await session.cost(self._requests, since=self._since, fetching=True, service=service)
        words = f"{cost}, simulated" if service.is_simulated else str(cost)
        if most is not None and (cost.usd is None or not cost.usd <= most):
            raise BudgetError(
                f"{words}, and the maximum cost is ${most:.2f}.",
                todo="Ask for less, or allow a higher maximum cost.",
            )
        if self._is_agreed:
            return
        if _is_much(cost, session):
            await self._agree(words, on_ask)
        elif cost.usd is None:
            session.notice("The price of this request was not known when it was sent.")

    async def _agree(self, words: str, on_ask: Callable[[], None]) -> None:
        settings = self._session.settings
        if self._question is None:
            raise BudgetError(
                f"{words}. Requests for more than {settings.ask_above_count} images, for more than"
                f" ${settings.ask_above_usd:.2f}, or for several images at an unknown price need"
                " confirmation.",
                todo="Add --yes, or look first with --dry-run.",
            )
        on_ask()
        self._is_agreed = await self._question.ask(words)
        if not self._is_agreed:
            raise BudgetError(f"{words}: declined.", todo=self._question.again)


def _usd(amount: Any) -> float:
    try:
        return float(amount)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"max_cost is {amount!r:.60}, which is no amount of USD.", todo="Give a number."
        ) from None


def _is_sure(session: Session, requests: Sequence[ImageRequest]) -> bool:
    """Whether requests need no question, whatever the service's price is.

    Only one image, of a price that the catalogue knows, is worth no wait for a quote.
    """
    if sum(request.count for request in requests) > 1:
        return False
    return all(
        request.estimate is not None and request.estimate <= session.settings.ask_above_usd
        for request in requests
    )


def _is_much(cost: Cost, session: Session) -> bool:
    """Whether something needs a click; several images at an unknown price do."""
    settings = session.settings
    if cost.usd is None and cost.new > 1:
        return True
    return cost.new > settings.ask_above_count or (cost.usd or 0.0) > settings.ask_above_usd
