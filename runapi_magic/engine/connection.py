"""Choose what answers requests: RunAPI with the user's key, or a simulator in this process."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from runapi_magic.engine.credentials import asks_colab, named_access, resolve_access

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.access import Access
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.settings import Settings
    from runapi_magic.http.rate_limit import Limiter


class Connection:
    """The service that answers now, and how to find it.

    Args:
        settings: Returns the current settings.
        limiter_for: Returns the rate limiter of an account.

    Attributes:
        simulator: The simulator in this process, None when it is off.
        cell_id: Returns an ID of the current cell execution, None outside a kernel.
    """

    def __init__(
        self, settings: Callable[[], Settings], limiter_for: Callable[[Access], Limiter]
    ) -> None:
        self._settings = settings
        self._limiter_for = limiter_for
        self.simulator: Service | None = None
        self.cell_id: Callable[[], str | None] = lambda: None
        self._cached: tuple[tuple[object, ...], Access] | None = None
        self._remote: Service | None = None
        self._lock = threading.Lock()  # several threads may need the service at the same time

    def service(self) -> Service:
        """Return the simulator if it is on, else the service for the user's key and base URL.

        Raises:
            ConfigurationError: The key or the base URL is unusable.
        """
        return self.simulator or self.service_for(self.access())

    async def get_service(self) -> Service:
        """Return the same as ``service``, without blocking the loop while Colab is asked."""
        return self.simulator or await self.get_paid_service()

    async def get_paid_service(self) -> Service:
        """Return the service for the user's key and base URL, even if the simulator is on."""
        access = await asyncio.to_thread(self.access) if self.asks_colab else self.access()
        return self.service_for(access)

    def service_for(self, access: Access) -> Service:
        """Return the service for a key and base URL; the same object for the same access."""
        from runapi_magic.engine.backend import remote_service

        with self._lock:
            if self._remote is None or self._remote.access != access:
                self._remote = remote_service(access, self._limiter_for(access))
            return self._remote

    def access(self) -> Access:
        """Return the key and base URL; files and Colab are read once for each cell execution.

        Raises:
            ConfigurationError: The key or the base URL is unusable; see ``resolve_access``.
        """
        cell, named = self.cell_id(), self._named()
        cached = self._cached  # read once: another thread may forget it at any time
        if cell is None or cached is None or cached[0] != named:
            cached = self._cached = named, resolve_access(self._settings())
        return cached[1]

    def require_key(self) -> None:
        """Check that there is an API key; in Colab, the request itself does it, off the loop.

        Raises:
            MissingKeyError: There is no API key.
            ConfigurationError: The base URL is unusable.
        """
        if self.simulator is None and not self.asks_colab:
            self.access().require_key()

    def forget_access(self) -> None:
        """Make the next ``access`` call read the key and base URL again."""
        self._cached = None

    @property
    def asks_colab(self) -> bool:
        """Whether ``access`` has to ask Colab, which takes seconds."""
        cached = self._cached
        is_cached = cached is not None and cached[0] == self._named()
        return asks_colab(self._settings()) and (self.cell_id() is None or not is_cached)

    def _named(self) -> tuple[object, ...]:
        return (self.cell_id(), *named_access(self._settings()))

    def simulator_on(self, speed: float = 1.0) -> None:
        """Use a simulator in this process from now on: no key, no network, no cost.

        Args:
            speed: How many times faster than RunAPI it is, more than 0.

        Raises:
            InvalidRequestError: The speed is not a finite number of more than 0.
        """
        from runapi_magic.engine.backend import simulated_service

        self.simulator = simulated_service(speed)

    def simulator_off(self) -> None:
        """Use RunAPI again. Requests that are running on the simulator continue there."""
        self.simulator = None
