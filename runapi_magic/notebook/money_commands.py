"""The commands of ``%runapi`` about money: the balance, the budgets and the spending."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from runapi_magic.core.paths import notebook_name
from runapi_magic.journal.database import JournalError
from runapi_magic.notebook.arguments import usage_error

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from runapi_magic.engine.session import Session
    from runapi_magic.journal.budgets import Scope

_SCOPES: dict[str, Scope] = {"--session": "session", "--day": "day"}


def balance(session: Session, _arguments: list[str]) -> Awaitable[str]:
    """Show the balance of the account, and what was spent: this session, this notebook, today."""
    service = session.service()
    service.access.require_key()

    async def ask() -> str:
        try:
            spent = await asyncio.to_thread(spending, session)
        except JournalError as error:
            spent = f"What was spent here is unknown. {error.what}"
        found = await service.client.balance()
        simulated = "  (simulated)" if service.is_simulated else ""
        return (
            f"Balance ${found.balance_cents / 100:.2f}{simulated}\n"
            f"Spent by the account today ${found.spent_cents_today / 100:.2f},"
            f" in total ${found.spent_cents_total / 100:.2f}\n"
            f"{spent}"
        )

    return ask()


def budget(session: Session, arguments: list[str]) -> str:
    """Show or set a budget: ``budget [USD | off] [--session|--day]``.

    ``--session`` (the default) limits this kernel. ``--day`` limits all kernels of the data folder
    since midnight. ``off`` alone removes both budgets.
    """
    origin = session.service().access.base_url
    scopes = [_SCOPES[word] for word in arguments if word in _SCOPES]
    match [word for word in arguments if word not in _SCOPES]:
        case [] if not scopes:
            return _budgets(session)
        case ["off"] if len(scopes) < len(_SCOPES):
            for scope in scopes or _SCOPES.values():
                session.budgets.set_budget(origin, scope, None)
            return _budgets(session) if scopes else "There is no budget any more."
        case [amount] if len(scopes) < len(_SCOPES):
            (scope,) = scopes or ["session"]
            session.budgets.set_budget(origin, scope, _usd(amount))
            return _budgets(session)
    raise usage_error(
        "%runapi budget needs an amount in USD, and may say whether it is for the session or day.",
        "%runapi budget 5 [--session|--day], or %runapi budget off [--session|--day]",
    )


def _usd(amount: str) -> float:
    try:
        usd = float(amount.removeprefix("$"))
    except ValueError:
        usd = math.nan
    if not 0 <= usd < math.inf:
        raise usage_error(f'"{amount}" is not an amount of USD.', "%runapi budget 5")
    return usd


def _budgets(session: Session) -> str:
    origin = session.service().access.base_url
    budgets, spent = session.budgets.budgets(origin), spending(session)
    lines = [f"Budget of the {scope}  ${usd:.2f}" for scope, usd in budgets.items()]
    return "\n".join([*(lines or ["There is no budget. Set one: %runapi budget 5 [--day]"]), spent])


def spending(session: Session) -> str:
    """Return what was spent, as the journal knows it."""
    service = session.service()
    found = session.budgets.spending(service.access.base_url, notebook_name())
    simulated = " (simulated)" if service.is_simulated else ""
    notebook = "" if found.notebook is None else f", this notebook ${found.notebook:.2f}"
    reserved = f"\nReserved for running requests ${found.reserved:.2f}" if found.reserved else ""
    return (
        f"Spent here{simulated}: this session ${found.session:.2f}{notebook},"
        f" today ${found.today:.2f}, in total ${found.total:.2f}{reserved}"
    )
