"""Routes for the account, its balance and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic.simulator import catalog
from runapi_magic.simulator.responses import iso_time, json_response, validation_error

if TYPE_CHECKING:
    from starlette.responses import Response

    from runapi_magic.simulator.catalog import Contract
    from runapi_magic.simulator.routing import Call


async def me(_: Call) -> Response:
    """GET /api/v1/me: the account."""
    account = {"id": 1, "name": "Simulated account"}
    return json_response(
        {"id": 1, "name": "Simulated user", "email": "user@simulator.invalid", "account": account}
    )


async def balance(call: Call) -> Response:
    """GET /api/v1/me/balance: the credits."""
    found = call.simulator.balance()
    if call.key.startswith("broke"):
        found |= dict.fromkeys(("balance_cents", "paid_balance_cents", "bonus_balance_cents"), 0)
    return json_response(found)


async def price_quote(call: Call) -> Response:
    """POST /api/v1/price_quotes: the price of a request. Reserves nothing."""
    body = call.fields()
    params = body.get("params") or {}
    contract = catalog.find(
        str(body.get("action")), body.get("model"), service=str(body.get("service"))
    )
    if contract is None:
        raise validation_error({"model": ["is not included in the list"]})
    if not isinstance(params, dict):
        raise validation_error({"params": ["must be an object"]})
    problems = contract.problems(params)
    # A quote needs no prompt and no image, but a wrong value is an error.
    wrong = {name: words for name, words in problems.items() if words != ["is required"]}
    if wrong:
        raise validation_error(wrong)
    quote = {
        "service": contract.service,
        "action": contract.action,
        "model": body.get("model") or contract.model,
        "pricing_status": "available",
        "currency": "USD",
        "reservation_amount_cents": catalog.price_cents(contract, params),
        "estimate_basis": "exact",
        "as_of": iso_time(call.simulator.clock()),
    }
    return json_response({"price_quote": quote})


async def price_schedules(call: Call) -> Response:
    """GET /api/v1/price_schedules, filtered by service, action and model."""
    wanted = dict(call.request.query_params)
    if "model" in wanted:
        wanted["model"] = catalog.MODEL_ALIASES.get(wanted["model"], wanted["model"])
    shown = [
        _schedule(contract)
        for contract in catalog.CONTRACTS
        if all(
            wanted.get(n) in {None, getattr(contract, n)} for n in ("service", "action", "model")
        )
    ]
    return json_response({"as_of": iso_time(call.simulator.clock()), "price_schedules": shown})


def _schedule(contract: Contract) -> dict[str, Any]:
    table = catalog.price_table(contract)
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
        "unit_price_cents": catalog.price_cents(contract, {}),
        "billing_config": config,
    }
