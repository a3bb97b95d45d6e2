"""Budgets, and what was spent. Each decision is made in one transaction.

A reservation is money that is reserved before anything is sent. It is open until its kernel
releases it or ends.

A task counts by its cost, or by its expected price while the cost is not known. Against a budget,
the reserved money counts instead of the tasks of an open reservation.

All methods block. They may be called from any thread and raise JournalError where the journal
cannot be used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from runapi_magic.errors import BudgetError
from runapi_magic.journal.database import retry_until_written

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from runapi_magic.journal.task_log import Journal

Scope = Literal["session", "day"]

_ROUNDING = 1e-9  # USD; sums of cents are not exact in floating point
_COST = (
    "CASE WHEN state IN ('refused', 'failed', 'planned') THEN 0 ELSE coalesce(cost, price, 0) END"
)


@dataclass(frozen=True, slots=True)
class Spending:
    """The costs of tasks in USD. A task counts by its expected price until its cost is known.

    Attributes:
        session: Spent by this kernel.
        notebook: Spent by this notebook in all kernels; None if its name is not known.
        today: Spent since midnight by all kernels of this data folder.
        total: Spent by all kernels of this data folder.
        reserved: Reserved for unfinished requests, without what their tasks count already.
    """

    session: float
    notebook: float | None
    today: float
    total: float
    reserved: float


class Budgets:
    """The budgets and the spending in one journal.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._of_session: dict[str, float] = {}
        # The origins with a budget of the day, with the value of damaged_file at that time.
        self._of_day: dict[str, Path | None] = {}

    def budgets(self, origin: str) -> dict[Scope, float]:
        """Return the budgets in USD.

        Raises:
            BudgetError: The journal with the budget of the day was damaged.
        """
        with self._journal.reading() as connection:
            return self._budgets(connection, origin)

    def _budgets(self, connection: sqlite3.Connection, origin: str) -> dict[Scope, float]:
        found: dict[Scope, float] = {}
        if origin in self._of_session:
            found["session"] = self._of_session[origin]
        rows = connection.execute("SELECT usd FROM budgets WHERE origin = ?", (origin,))
        for (usd,) in rows:
            found["day"] = usd
        file = self._journal.damaged_file
        if "day" in found:
            self._of_day[origin] = file
        elif self._of_day.get(origin, file) != file:
            raise BudgetError(
                "The budget of the day was lost, because the journal was damaged.",
                todo="Set it again: %runapi budget USD --day. To continue without it:"
                " %runapi budget off --day.",
            )
        else:
            self._of_day.pop(origin, None)
        return found

    def set_budget(self, origin: str, scope: Scope, usd: float | None) -> None:
        """Set or remove a budget.

        Args:
            origin: The service's base URL.
            scope: ``session`` for this kernel, ``day`` for all kernels of this data folder.
            usd: US dollars; None removes the budget.
        """
        if scope == "session":
            self._of_session.pop(origin, None)
            if usd is not None:
                self._of_session[origin] = usd
            return
        with self._journal.transaction() as connection:
            connection.execute("DELETE FROM budgets WHERE origin = ?", (origin,))
            if usd is not None:
                connection.execute("INSERT INTO budgets (origin, usd) VALUES (?, ?)", (origin, usd))
        self._of_day.pop(origin, None)

    def may_have_budget(self, origin: str) -> bool:
        """Whether there may be a budget. It also works if the journal cannot be used.

        A journal that exists but cannot be read may have a budget of the day.
        """
        return (
            origin in self._of_session
            or origin in self._of_day
            or self._journal.may_have("budgets", "origin = ?", origin)
        )

    def reserve(self, reservation: str, origin: str, usd: float) -> float:
        """Reserve money, if no budget is exceeded.

        Args:
            reservation: A unique name, for ``release``.
            origin: The service's base URL.
            usd: The price of the requests in US dollars.

        Returns:
            The reserved US dollars.

        Raises:
            BudgetError: A budget would be exceeded, or the budget of the day was lost. Nothing was
                reserved.
        """
        with self._journal.transaction() as connection:
            budgets = self._budgets(connection, origin)
            self._delete_reservations_of_dead_kernels(connection)
            opened = self._open_reservations(connection, origin)
            for scope, budget in budgets.items():
                spent = self._spent(connection, origin, opened, *self._window(scope))
                reserved = sum(
                    amount
                    for _, owner, amount in opened
                    if scope == "day" or owner == self._journal.owners.me
                )
                if spent + reserved + usd > budget + _ROUNDING:
                    raise BudgetError(
                        f"This costs ${usd:.2f}, but the budget of the {scope} is ${budget:.2f}"
                        f" (${spent:.2f} spent, ${reserved:.2f} reserved for running requests).",
                        todo="Request fewer images, or raise the budget:"
                        f" %runapi budget USD --{scope}.",
                    )
            connection.execute(
                "INSERT INTO holds (id, owner, origin, usd) VALUES (?, ?, ?, ?)",
                (reservation, self._journal.owners.me, origin, usd),
            )
        return usd

    @retry_until_written
    def release(self, reservation: str) -> None:
        """Release reserved money. From now on the tasks count by their cost."""
        with self._journal.transaction() as connection:
            connection.execute("DELETE FROM holds WHERE id = ?", (reservation,))

    def spending(self, origin: str, notebook: str) -> Spending:
        """Return what was spent and what is reserved.

        Args:
            origin: The service's base URL.
            notebook: The name of the notebook; empty if it is not known.
        """
        with self._journal.reading() as connection:
            opened = self._open_reservations(connection, origin)
            return Spending(
                session=self._spent(connection, origin, (), *self._window("session")),
                notebook=self._spent(connection, origin, (), "notebook = ?", notebook)
                if notebook
                else None,
                today=self._spent(connection, origin, (), *self._window("day")),
                total=self._spent(connection, origin, (), "TRUE"),
                reserved=sum(
                    self._left(connection, origin, reservation, usd)
                    for reservation, _, usd in opened
                ),
            )

    def _window(self, scope: Scope) -> tuple[str, str | float]:
        if scope == "session":
            return "kernel = ?", self._journal.owners.me
        today = datetime.fromtimestamp(time.time()).astimezone()
        # Without the UTC offset of now: at midnight it was another one if the clocks change today.
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return "created >= ?", midnight.timestamp()

    def _delete_reservations_of_dead_kernels(self, connection: sqlite3.Connection) -> None:
        owners = connection.execute("SELECT DISTINCT owner FROM holds").fetchall()
        dead = [owner for owner in owners if not self._journal.owners.is_alive(*owner)]
        connection.executemany("DELETE FROM holds WHERE owner = ?", dead)

    def _open_reservations(
        self, connection: sqlite3.Connection, origin: str
    ) -> list[tuple[str, str, float]]:
        rows = connection.execute("SELECT id, owner, usd FROM holds WHERE origin = ?", (origin,))
        return [row for row in rows.fetchall() if self._journal.owners.is_alive(row[1])]

    def _left(
        self, connection: sqlite3.Connection, origin: str, reservation: str, usd: float
    ) -> float:
        """Return the money of a reservation that its tasks have not spent."""
        left = usd - self._spent(connection, origin, (), "hold = ?", reservation)
        return left if left > _ROUNDING else 0.0

    @staticmethod
    def _spent(
        connection: sqlite3.Connection,
        origin: str,
        opened: Sequence[tuple[str, str, float]],
        window: str,
        *values: str | float,
    ) -> float:
        marks = ", ".join("?" * len(opened))
        (usd,) = connection.execute(
            f"SELECT coalesce(sum({_COST}), 0) FROM tasks WHERE origin = ? AND {window}"  # noqa: S608 (no user input)
            f" AND (hold IS NULL OR hold NOT IN ({marks}))",
            (origin, *values, *(reservation for reservation, _, _ in opened)),
        ).fetchone()
        return float(usd)
