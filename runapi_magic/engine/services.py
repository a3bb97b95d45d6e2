"""The objects that a session works with, each made when it is first needed."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from runapi_magic.core.paths import data_home
from runapi_magic.engine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.engine.image import Editor
    from runapi_magic.engine.library import Library
    from runapi_magic.engine.pipeline import Pipeline
    from runapi_magic.http.rate_limit import Limiters
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.task_log import Journal

T = TypeVar("T")

_lock = threading.RLock()  # making one object makes others


class _LazyProperty(cached_property[T]):
    """A property that is computed once, even if several threads read it at the same time."""

    # Never read on the class itself, for which cached_property has another signature.
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:  # type: ignore[override]
        with _lock:
            value: T = super().__get__(instance, owner)
            return value


class Services:
    """The objects that outlive one cell. ``%load_ext`` and the first placeholder need few of them.

    Args:
        editor: Edits images.
        settings: The user's settings; by default new ones.
        journal: The journal; by default the one in the data folder.
        notice: Takes a message for the user, to be shown with the next image.

    Attributes:
        settings: The user's settings.
        journal: The record of all requests.
        record: Calls the journal without blocking the loop.
        limiters: The rate limiters, one for each account.
        pipeline: Runs requests.
        library: Finds finished images.
    """

    def __init__(
        self,
        editor: Editor,
        settings: Settings | None,
        journal: Journal | None,
        notice: Callable[[str], None],
    ) -> None:
        self.settings = settings or Settings()
        if journal is not None:
            self.journal = journal
        self._editor = editor
        self._notice = notice

    @property
    def has_journal(self) -> bool:
        """Whether the journal is in use already."""
        return "journal" in vars(self)

    @_LazyProperty
    def journal(self) -> Journal:  # noqa: D102 (see the class)
        from runapi_magic.journal.task_log import Journal

        return Journal(data_home())

    @_LazyProperty
    def record(self) -> AsyncJournal:  # noqa: D102 (see the class)
        from runapi_magic.journal.async_journal import AsyncJournal

        return AsyncJournal(self.journal, self._notice)

    @_LazyProperty
    def limiters(self) -> Limiters:  # noqa: D102 (see the class)
        from runapi_magic.http.rate_limit import Limiters
        from runapi_magic.journal.rate_store import SharedRate

        return Limiters(lambda account: SharedRate(account, self.journal, self.record))

    @_LazyProperty
    def pipeline(self) -> Pipeline:  # noqa: D102 (see the class)
        from runapi_magic.engine.pipeline import Pipeline

        return Pipeline(lambda: self.settings, self.journal, self._notice, self._editor)

    @_LazyProperty
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
