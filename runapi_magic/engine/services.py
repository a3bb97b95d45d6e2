"""What a session is made of, each part made when it is first needed."""

from __future__ import annotations

import asyncio
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from runapi_magic.core.paths import data_home
from runapi_magic.engine.credentials import asks_colab, named_access, resolve_access
from runapi_magic.engine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.access import Access
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.image import Editor
    from runapi_magic.engine.library import Library
    from runapi_magic.engine.pipeline import Pipeline
    from runapi_magic.engine.pricing import Pricing
    from runapi_magic.engine.shown_versions import ShownVersions
    from runapi_magic.http.rate_limit import Rates
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.budgets import Budgets
    from runapi_magic.journal.task_log import Journal

Made = TypeVar("Made")

_making = threading.RLock()


class _Part(cached_property[Made]):
    """A property that is made once, also where several threads ask for it at the same time."""

    # Never asked of the class itself, for which cached_property has another signature.
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Made:  # type: ignore[override]
        with _making:
            made: Made = super().__get__(instance, owner)
            return made


class Services:
    """The parts that outlive one cell. What the first placeholder does without is made later.

    Args:
        editor: What pictures are edited with.
        settings: The user's settings; by default those of nobody.
        journal: Where requests are written down; by default in the data folder.

    Attributes:
        settings: The user's settings.
        journal: Where requests are written down.
        record: Writes to the journal, off the loop.
        pipeline: Brings requests to their end.
        library: What was made before.
        pricing: What requests cost.
        shown_versions: Which versions of pictures cells show.
        budgets: What was spent, and what may be.
        notices: What the user should know, to be shown with the next picture.
        cell_id: Returns what tells this run of a cell from others, None outside a kernel.
    """

    def __init__(self, editor: Editor, settings: Settings | None, journal: Journal | None) -> None:
        self.settings = settings or Settings()
        if journal is not None:
            self.journal = journal
        self.notices: list[str] = []
        self.cell_id: Callable[[], str | None] = lambda: None
        self._found: tuple[tuple[object, ...], Access] | None = None
        self._editor = editor
        self._service: Service | None = None
        self._simulator: Service | None = None

    @_Part
    def journal(self) -> Journal:  # noqa: D102 (see the class)
        from runapi_magic.journal.task_log import Journal

        return Journal(data_home())

    @_Part
    def record(self) -> AsyncJournal:  # noqa: D102 (see the class)
        from runapi_magic.journal.async_journal import AsyncJournal

        return AsyncJournal(self.journal, self.notice)

    @_Part
    def _rates(self) -> Rates:
        from runapi_magic.http.rate_limit import Rates
        from runapi_magic.journal.rate_store import SharedRate

        return Rates(lambda account: SharedRate(account, self.journal, self.record))

    @_Part
    def pipeline(self) -> Pipeline:  # noqa: D102 (see the class)
        from runapi_magic.engine.pipeline import Pipeline

        return Pipeline(lambda: self.settings, self.journal, self.notice, self._editor)

    @property
    def pricing(self) -> Pricing:  # noqa: D102 (see the class)
        return self.pipeline.pricing

    @property
    def shown_versions(self) -> ShownVersions:  # noqa: D102 (see the class)
        return self.pipeline.shown_versions

    @property
    def budgets(self) -> Budgets:  # noqa: D102 (see the class)
        return self.pipeline.budgets

    @_Part
    def library(self) -> Library:  # noqa: D102 (see the class)
        from runapi_magic.engine.library import Library
        from runapi_magic.journal.history import History
        from runapi_magic.media.thumbnails import Thumbnails

        return Library(
            History(self.journal),
            self.pipeline.image_store,
            Thumbnails(self.journal.path.parent / "thumbnails"),
            self._editor,
            lambda: self.settings.max_megapixels,
        )

    # What answers

    def service(self) -> Service:
        """Return the simulator where it is on, else the service that key and base URL name.

        Raises:
            ConfigurationError: The base URL is unusable.
        """
        return self._simulator or self.remote(self.access())

    async def answering(self) -> Service:
        """Return what ``service`` returns; off the loop where Colab has to be asked for the key."""
        return self._simulator or await self.paid()

    async def paid(self) -> Service:
        """Return what answers where no simulator is on; as ``answering`` does it."""
        access = await asyncio.to_thread(self.access) if self.asks_colab else self.access()
        return self.remote(access)

    def access(self) -> Access:
        """Return key and base URL. Files and Colab's secret are read once in a run of a cell.

        Raises:
            ConfigurationError: The base URL is unusable.
        """
        cell, named = self.cell_id(), self._named()
        if cell is None or self._found is None or self._found[0] != named:
            self._found = named, resolve_access(self.settings)
        return self._found[1]

    def forget_access(self) -> None:
        """Look for key and base URL again, also in this cell."""
        self._found = None

    @property
    def asks_colab(self) -> bool:
        """Whether ``access`` has to ask Colab, which takes a while."""
        is_known = self._found is not None and self._found[0] == self._named()
        return asks_colab(self.settings) and (self.cell_id() is None or not is_known)

    def _named(self) -> tuple[object, ...]:
        return (self.cell_id(), *named_access(self.settings))

    def remote(self, access: Access) -> Service:
        """Return the service of a key and base URL, the same one as long as they are the same."""
        from runapi_magic.engine.backend import remote_service

        with _making:
            if self._service is None or self._service.access != access:
                self._service = remote_service(access, self._rates.of(access))
            return self._service

    @property
    def simulator(self) -> Service | None:
        """The simulator in this process, where it is on."""
        return self._simulator

    def simulator_on(self, speed: float = 1.0) -> None:
        """Let a simulator in this process answer from now on: no key, no network, no cost.

        Args:
            speed: How much faster than life it is, more than 0.

        Raises:
            InvalidRequestError: The speed is not more than 0.
        """
        from runapi_magic.engine.backend import simulated_service

        self._simulator = simulated_service(speed)

    def simulator_off(self) -> None:
        """Let RunAPI answer again. What is under way on the simulator goes on there."""
        self._simulator = None

    def notice(self, text: str) -> None:
        """Keep a notice to be shown with the next picture."""
        if text not in self.notices:
            self.notices.append(text)

    def take_notices(self) -> list[str]:
        """Return the notices that were not shown yet."""
        notices, self.notices = self.notices, []
        return notices
