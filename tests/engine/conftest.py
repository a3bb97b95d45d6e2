"""Fixtures for the tests of the engine."""

from __future__ import annotations

import pytest


@pytest.fixture
def quote(monkeypatch):
    """Return a function that makes the service quote one price in USD for every task."""

    def set_price(usd):
        async def quoted(_client, _request, _count=1):
            return usd

        monkeypatch.setattr("runapi_magic.http.client.Client.quote", quoted)

    return set_price
