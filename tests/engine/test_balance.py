"""The balance of an account."""

from __future__ import annotations

import pytest

from runapi_magic.errors import (
    APIError,
    AuthenticationError,
    ConnectionFailedError,
)

pytestmark = pytest.mark.server


def test_a_balance(service, use):
    """The balance is returned in cents."""

    async def body(session):
        return await session.service().client.balance()

    balance = use(service, body)
    assert balance.balance_cents > 0
    assert balance.spent_cents_total >= 0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("balance=401", AuthenticationError), ("balance=empty", ConnectionFailedError),
     ("balance=redirect_foreign", APIError)],
)  # fmt: skip
def test_a_balance_that_cannot_be_read(service, use, fault, kind):
    """If the balance cannot be read, the error has all its three parts."""
    service.fault(fault)

    async def body(session):
        with pytest.raises(kind) as caught:
            await session.service().client.balance()
        return caught.value

    assert len(use(service, body).parts) == 3
