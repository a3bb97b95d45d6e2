"""The routes about the account and its money."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runapi_magic.simulator.responses import answer, invalid

from . import catalogue

if TYPE_CHECKING:
    from starlette.responses import Response

    from runapi_magic.simulator.routing import Call

    from .catalogue import Contract


def iso(seconds: float) -> str:
    """A moment as the service writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def me(_: Call) -> Response:
    """GET /api/v1/me."""
    account = {"id": 1, "name": "Simulated account"}
    return answer(
        {"id": 1, "name": "Simulated user", "email": "user@simulator.invalid", "account": account}
    )


async def balance(call: Call) -> Response:
    """GET /api/v1/me/balance."""
    found = call.simulator.balance()
    if call.key.startswith("broke"):
        found |= dict.fromkeys(("balance_cents", "paid_balance_cents", "bonus_balance_cents"), 0)
    return answer(found)


async def price_quote(call: Call) -> Response:
    """POST /api/v1/price_quotes: what a request would cost. Nothing is reserved."""
    asked = call.fields()
    params = asked.get("params") or {}
    contract = catalogue.find(
        str(asked.get("action")), asked.get("model"), service=str(asked.get("service"))
    )
    if contract is None:
        raise invalid({"model": ["is not included in the list"]})
    if not isinstance(params, dict):
        raise invalid({"params": ["must be an object"]})
    problems = contract.problems(params)
    # A price can be asked before there is a prompt or a picture, but not for a wrong value.
    wrong = {name: words for name, words in problems.items() if words != ["is required"]}
    if wrong:
        raise invalid(wrong)
    quote = {
        "service": contract.service,
        "action": contract.action,
        "model": asked.get("model") or contract.model,
        "pricing_status": "available",
        "currency": "USD",
        "reservation_amount_cents": catalogue.price_cents(contract, params),
        "estimate_basis": "exact",
        "as_of": iso(call.simulator.clock()),
    }
    return answer({"price_quote": quote})


async def price_schedules(call: Call) -> Response:
    """GET /api/v1/price_schedules, filtered by service, action and model."""
    wanted = dict(call.request.query_params)
    if "model" in wanted:
        wanted["model"] = catalogue.OLD_NAMES.get(wanted["model"], wanted["model"])
    shown = [
        _schedule(contract)
        for contract in catalogue.CONTRACTS
        if all(
            wanted.get(n) in {None, getattr(contract, n)} for n in ("service", "action", "model")
        )
    ]
    return answer({"as_of": iso(call.simulator.clock()), "price_schedules": shown})


def _schedule(contract: Contract) -> dict[str, Any]:
    table = catalogue.price_table(contract)
    config: dict[str, Any] = {}
    if table:
        name, cents = table
        config = {"parameter": name, "price_cents": {str(v): price for v, price in cents.items()}}
    return {
        "service": contract.service,
        "action": contract.action,
        "model": contract.model,
        "pricing_status": "available",
        "catalog_status": "active",
        "currency": "USD",
        "billing_unit": "task",
        "billing_strategy": "per_parameter" if config else "flat",
        "unit_price_cents": catalogue.price_cents(contract, {}),
        "billing_config": config,
    }
