"""The stage: the place of one chosen picture, with the buttons that every picture has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest
from runapi_magic.display.environment import Audience
from runapi_magic.display.generation_view import GenerationView
from runapi_magic.engine.generation import Generation, GenerationTask
from runapi_magic.widgets.toolbar import show_toolbar

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.session import Session


class Stage:
    """An empty place for a picture that was made before.

    Args:
        session: What the buttons ask.
    """

    def __init__(self, session: Session) -> None:
        nothing = ImageRequest("", session.settings.model)
        task = GenerationTask("stage", nothing, 1, expect(None), status="completed")
        self._generation = Generation(nothing, [task])
        self._session = session

    @property
    def shown(self) -> GeneratedImage | None:
        """The picture that is shown; its buttons may have brought another version."""
        return self._generation.slots[0].shown

    def show(self) -> None:
        """Display the place in the cell that runs now, as plain output that survives saving."""
        GenerationView(self._generation, self._session, Audience.LIVE, show_toolbar)

    def put(self, image: GeneratedImage) -> None:
        """Show a picture. What is slow about it was prepared."""
        self._generation.put(self._generation.slots[0], image)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever something changes."""
        self._generation.subscribe(listener)
