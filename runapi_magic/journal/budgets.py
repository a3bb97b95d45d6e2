"""What was spent, what is under way, and what may be spent: read and written in one transaction.

A hold is money that is set aside before anything is sent. It is open while the kernel that took it
lives and has not let go of it; tasks that were asked for under an open hold are counted by it, all
others by what they cost, or by their expected price while that is not known.

Methods are blocking and may be called from any thread; all raise JournalError where the journal
cannot be used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from runapi_magic.errors import BudgetError
from runapi_magic.journal.database import afterwards

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from runapi_magic.journal.task_log import Journal

Scope = Literal["session", "day"]

_ROUNDING = 1e-9  # USD; sums of cents are not exact
_COUNTED = "CASE WHEN state IN ('refused', 'failed', 'planned') THEN 0 ELSE {} END"
_COST = _COUNTED.format("coalesce(cost, price, 0)")


@dataclass(frozen=True, slots=True)
class Spending:
    """Money in USD: what tasks cost, by their expected price where the cost is not known yet.

    Attributes:
        session: By this kernel.
        notebook: By this notebook, in whatever kernel; None where its name is not known.
        today: Since midnight, by all kernels of this data folder.
        total: Ever, by all kernels of this data folder.
        under_way: Set aside for what is not finished.
    """

    session: float
    notebook: float | None
    today: float
    total: float
    under_way: float


class Budgets:
    """The money side of one journal.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._of_session: dict[str, float] = {}
        # Where a budget of the day was seen last: by the name of the file that was set aside then.
        self._of_day: dict[str, Path | None] = {}

    def budgets(self, origin: str) -> dict[Scope, float]:
        """Return the budgets that are set, in USD.

        Raises:
            BudgetError: A budget of the day was lost with a journal that was damaged.
        """
        found: dict[Scope, float] = {}
        if origin in self._of_session:
            found["session"] = self._of_session[origin]
        with self._journal.reading() as connection:
            rows = connection.execute("SELECT usd FROM budgets WHERE origin = ?", (origin,))
            for (usd,) in rows:
                found["day"] = usd
        file = self._journal.set_aside
        if "day" in found:
            self._of_day[origin] = file
        elif self._of_day.get(origin, file) != file:
            raise BudgetError(
                "There was a budget of the day, and the journal that had it was damaged.",
                todo="Set it again: %runapi budget USD --day. To go on without it:"
                " %runapi budget off --day.",
            )
        else:
            self._of_day.pop(origin, None)
        return found

    def set_budget(self, origin: str, scope: Scope, usd: float | None) -> None:
        """Set a budget, or take it away.

        Args:
            origin: The service's base URL.
            scope: ``session`` for this kernel, ``day`` for all kernels of this data folder.
            usd: US dollars; None for no budget.
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

    def may_be_set(self, origin: str) -> bool:
        """Whether there is a budget, or may be one, where the journal cannot be used.

        A budget of the day may be in a journal that exists and cannot be read.
        """
        return (
            origin in self._of_session
            or origin in self._of_day
            or self._journal.may_have("budgets", "origin = ?", origin)
        )

    def hold(self, hold: str, origin: str, usd: float) -> float:
        """Set money aside. Nothing can cross a budget between two holds.

        Args:
            hold: A name of its own, to let go of it again.
            origin: The service's base URL.
            usd: What is about to be asked for costs, US dollars.

        Returns:
            What is set aside, US dollars.

        Raises:
            BudgetError: It would cross a budget; nothing was set aside.
        """
        budgets = self.budgets(origin)
        with self._journal.transaction() as connection:
            self._clear(connection)
            opened = self._open_holds(connection, origin)
            for scope, budget in budgets.items():
                spent = self._spent(connection, origin, opened, *self._window(scope))
                waiting = sum(
                    held
                    for _, owner, held in opened
                    if scope == "day" or owner == self._journal.owners.me
                )
                if spent + waiting + usd > budget + _ROUNDING:
                    raise BudgetError(
                        f"This costs ${usd:.2f}, and the budget of the {scope} is ${budget:.2f}:"
                        f" ${spent:.2f} are spent, ${waiting:.2f} are set aside for what is under"
                        " way.",
                        todo=f"Ask for less, or raise it: %runapi budget USD --{scope}.",
                    )
            connection.execute(
                "INSERT INTO holds (id, owner, origin, usd) VALUES (?, ?, ?, ?)",
                (hold, self._journal.owners.me, origin, usd),
            )
        return usd

    @afterwards
    def release(self, hold: str) -> None:
        """Let go of a hold; from now on its tasks count by what they cost."""
        with self._journal.transaction() as connection:
            connection.execute("DELETE FROM holds WHERE id = ?", (hold,))

    def spending(self, origin: str, notebook: str) -> Spending:
        """Return what was spent.

        Args:
            origin: The service's base URL.
            notebook: The notebook's name; empty where it is not known.
        """
        with self._journal.reading() as connection:
            opened = self._open_holds(connection, origin)
            return Spending(
                session=self._spent(connection, origin, (), *self._window("session")),
                notebook=self._spent(connection, origin, (), "notebook = ?", notebook)
                if notebook
                else None,
                today=self._spent(connection, origin, (), *self._window("day")),
                total=self._spent(connection, origin, (), "TRUE"),
                under_way=sum(usd for _, _, usd in opened),
            )

    def _window(self, scope: Scope) -> tuple[str, str | float]:
        if scope == "session":
            return "kernel = ?", self._journal.owners.me
        today = datetime.fromtimestamp(time.time()).astimezone()
        # Without its zone: midnight has another one where the clocks change today.
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return "created >= ?", midnight.timestamp()

    def _clear(self, connection: sqlite3.Connection) -> None:
        """Delete what dead kernels had set aside; their tasks count by what they cost."""
        owners = connection.execute("SELECT DISTINCT owner FROM holds").fetchall()
        dead = [owner for owner in owners if not self._journal.owners.is_alive(*owner)]
        connection.executemany("DELETE FROM holds WHERE owner = ?", dead)

    def _open_holds(
        self, connection: sqlite3.Connection, origin: str
    ) -> list[tuple[str, str, float]]:
        rows = connection.execute("SELECT id, owner, usd FROM holds WHERE origin = ?", (origin,))
        return [row for row in rows.fetchall() if self._journal.owners.is_alive(row[1])]

    @staticmethod
    def _spent(
        connection: sqlite3.Connection,
        origin: str,
        opened: list[tuple[str, str, float]] | tuple[()],
        window: str,
        *values: str | float,
    ) -> float:
        marks = ", ".join("?" * len(opened))
        (usd,) = connection.execute(
            f"SELECT coalesce(sum({_COST}), 0) FROM tasks WHERE origin = ? AND {window}"  # noqa: S608 (ours)
            f" AND (hold IS NULL OR hold NOT IN ({marks}))",
            (origin, *values, *(hold for hold, _, _ in opened)),
        ).fetchone()
        return float(usd)
