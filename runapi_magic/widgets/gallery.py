"""The pictures that were made before: small ones to choose from, page by page, with a search."""

from __future__ import annotations

import asyncio
import base64
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets

from runapi_magic.display.generation_view import nothing_found
from runapi_magic.display.theme import ACCENT, FONT
from runapi_magic.widgets.drawers import button, row

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.library import Library
    from runapi_magic.widgets.drawers import Carry, Run

PAGE = 24  # pictures
_SIDE = 84  # pixels of a small picture
_LONGEST_TITLE = 200  # characters

_STYLE = f"""<style>
.runapi-gallery {{display:grid; gap:4px; align-content:start;
  grid-template-columns:repeat(auto-fill,minmax({_SIDE + 8}px,1fr)); min-height:{_SIDE + 12}px;
  font-family:var(--jp-ui-font-family,system-ui,sans-serif); font-size:13px; line-height:1.5;
  color:var(--jp-ui-font-color1,inherit)}}
.runapi-gallery button {{margin:0; padding:2px; border:2px solid transparent; border-radius:4px;
  background:none; cursor:pointer; height:{_SIDE + 8}px}}
.runapi-gallery button:hover {{background:var(--jp-layout-color2,rgba(128,128,128,.2))}}
.runapi-gallery button:focus-visible {{outline:2px solid {ACCENT}}}
.runapi-gallery button[aria-current] {{border-color:{ACCENT}}}
.runapi-gallery img {{display:block; width:100%; height:100%; margin:0; max-width:none;
  object-fit:cover; border-radius:2px}}
@media (forced-colors:active) {{
  .runapi-gallery button {{border-color:Canvas}}
  .runapi-gallery button[aria-current] {{border-color:Highlight}} }}
</style>"""


class Gallery:
    """A page of pictures. Only that page is ever loaded.

    Args:
        library: Knows the pictures.
        run: Calls a function on the kernel's loop.
        work: Starts a coroutine on it.
        carry: Makes the bridge tell clicks together with what stands in the field.
        say: Lets screen readers say something.

    Attributes:
        widget: All of it, to be placed in the container of a bridge; its buttons' action is
            ``pick``, the value an image's id.
        chosen: The id of the picture that is marked.
    """

    def __init__(
        self,
        library: Library,
        run: Run,
        work: Callable[[Coroutine[object, object, None]], None],
        carry: Carry,
        say: Callable[[str], None],
    ) -> None:
        self._library = library
        self._say = say
        self._work = work
        self._page = 0
        self._loading = 0
        self.chosen: str | None = None
        self._search = widgets.Text(
            description="Search",
            placeholder="words of prompt or model, then Enter",
            continuous_update=False,
            layout=widgets.Layout(width="min(320px, 100%)"),
            style={"description_width": "initial"},
        )
        self._search.observe(lambda _: run(self._find), "value")
        self._newer = button("◀", "Newer pictures", run, lambda: self._turn(-1))
        self._older = button("▶", "Older pictures", run, lambda: self._turn(1))
        for part in (self._search, self._newer, self._older):
            carry(part)
        self._count = widgets.Label()
        self._grid = widgets.HTML()
        self.widget = widgets.VBox(
            [row(self._search, row(self._newer, self._count, self._older)), self._grid],
            layout=widgets.Layout(flex="2 1 360px", min_width="0"),
        )

    def mark(self, image_id: str | None) -> None:
        """Mark the picture that is chosen."""
        self.chosen = image_id
        self._work(self.load())

    def _find(self) -> None:
        self._page = 0
        self._work(self._load_and_say())

    def _turn(self, step: int) -> None:
        self._page = max(0, self._page + step)
        self._work(self._load_and_say())

    async def _load_and_say(self) -> None:
        await self.load()
        self._say(f"Pictures: {self._count.value}")

    async def load(self) -> None:
        """Show the page afresh.

        Raises:
            JournalError: The journal cannot be read.
        """
        self._loading += 1
        mine, search, page = self._loading, self._search.value, self._page

        def read() -> tuple[list[GeneratedImage], int, str]:
            images, count = self._library.page(search, limit=PAGE, offset=page * PAGE)
            return images, count, self._html(images, search)

        images, count, html = await asyncio.to_thread(read)
        if mine != self._loading:  # there is something newer to show
            return
        self._grid.value = html
        first = page * PAGE
        self._count.value = f"{first + 1} to {first + len(images)} of {count}" if images else "0"
        self._newer.disabled = page == 0
        self._older.disabled = first + len(images) >= count

    def _html(self, images: list[GeneratedImage], search: str) -> str:
        if not images:
            words = nothing_found(search) if search else "No pictures yet."
            return f'<div style="{FONT};min-height:{_SIDE + 12}px">{escape(words)}</div>'
        tiles = "".join(map(self._tile, images))
        return (
            f'{_STYLE}<div class="runapi-gallery" role="group" aria-label="History">{tiles}</div>'
        )

    def _tile(self, image: GeneratedImage) -> str:
        title = " ".join(image.request.title.split())[:_LONGEST_TITLE]
        data = base64.b64encode(self._library.thumbnail(image)).decode()
        words, name = escape(title), escape(image.id)
        current = ' aria-current="true"' if image.id == self.chosen else ""
        return (
            f'<button type="button" data-action="pick" data-value="{name}" data-key="{name}"'
            f'{current} title="{words} · {escape(image.model)}" aria-label="{words}">'
            f'<img src="data:image/jpeg;base64,{data}" alt=""></button>'
        )
