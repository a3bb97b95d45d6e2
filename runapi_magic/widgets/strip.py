"""The versions of a picture: a row of small ones, and the way from one to the next."""

from __future__ import annotations

import asyncio
import base64
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets

from runapi_magic.display.theme import ACCENT, LINE
from runapi_magic.widgets.drawers import button, display_when, row

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.engine.generation import Generation, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Node, Tree
    from runapi_magic.engine.session import Session
    from runapi_magic.widgets.drawers import Run

SIDE = 56  # pixels of a small picture
_MOST_ON_THE_PATH, _MOST_BESIDE = 12, 12

_STYLE = f"""<style>
.runapi-strip {{display:flex; align-items:center; gap:4px; overflow-x:auto; padding:2px;
  height:{SIDE + 28}px; box-sizing:border-box;
  font-family:var(--jp-ui-font-family,system-ui,sans-serif); font-size:12px;
  color:var(--jp-ui-font-color1,inherit)}}
.runapi-strip button {{flex:none; display:flex; flex-direction:column; align-items:center;
  margin:0; padding:2px; border:2px solid transparent; border-radius:4px; background:none;
  color:inherit; font:inherit; line-height:16px; cursor:pointer}}
.runapi-strip button:hover {{background:var(--jp-layout-color2,rgba(128,128,128,.2))}}
.runapi-strip button:focus-visible {{outline:2px solid {ACCENT}}}
.runapi-strip button[aria-current] {{border-color:{ACCENT}}}
.runapi-strip img, .runapi-strip .runapi-coming {{display:block; width:{SIDE}px;
  height:{SIDE - 12}px; margin:0; max-width:none; object-fit:cover; border-radius:2px;
  box-sizing:border-box}}
.runapi-strip .runapi-coming {{border:2px dashed {LINE}; margin:4px}}
.runapi-strip .runapi-beside {{border-left:1px solid {LINE};
  margin-left:6px; padding-left:10px; height:{SIDE}px; display:flex; align-items:center; gap:4px}}
@media (forced-colors:active) {{
  .runapi-strip button {{border-color:Canvas}}
  .runapi-strip button[aria-current] {{border-color:Highlight}} }}
</style>"""


def strip_html(
    tree: Tree[GeneratedImage],
    shown: GeneratedImage,
    thumbnail: Callable[[GeneratedImage], bytes],
    coming: int = 0,
) -> str:
    """Return the row of versions as HTML; its buttons' action is ``show``, the value an image's id.

    Args:
        tree: The versions.
        shown: The picture that is shown.
        thumbnail: Returns a small JPEG of a picture. Blocking.
        coming: Number of versions that are being made.
    """
    here = tree.find(shown)
    path = tree.path(here) if here else []
    beside = [node for node in tree if node not in path]
    parts = []
    for number, node in enumerate(path[-_MOST_ON_THE_PATH:]):
        parts += ['<span aria-hidden="true">&rsaquo;</span>'] * bool(number)
        parts.append(_version(tree, node, node is here, thumbnail))
    if coming:
        parts.append('<span aria-hidden="true">&rsaquo;</span>')
        parts.append('<span class="runapi-coming" role="img" aria-label="on its way"></span>')
    others = [_version(tree, node, False, thumbnail) for node in beside[-_MOST_BESIDE:]]
    left_out = len(tree) - min(len(path), _MOST_ON_THE_PATH) - len(others)
    if left_out:
        others.append(f"<span>{left_out} more: %runapi history</span>")
    if others:
        words = "Other versions"
        parts.append(
            f'<span class="runapi-beside" role="group" aria-label="{words}" title="{words}">'
            f"{''.join(others)}</span>"
        )
    return f'{_STYLE}<div class="runapi-strip">{"".join(parts)}</div>'


def _version(
    tree: Tree[GeneratedImage],
    node: Node[GeneratedImage],
    is_shown: bool,
    thumbnail: Callable[[GeneratedImage], bytes],
) -> str:
    title = escape(" ".join(node.image.request.title.split()))
    facts = " · ".join(filter(None, [title, escape(node.image.model), escape(tree.worth(node))]))
    parent = f" (from {tree.nodes[node.parent].name})" if node.parent is not None else ""
    data = base64.b64encode(thumbnail(node.image)).decode()
    name = escape(node.image.id)
    current = ' aria-current="true"' if is_shown else ""
    return (
        f'<button type="button" data-action="show" data-value="{name}" data-key="{name}"{current}'
        f' title="{node.name}{parent}: {facts}" aria-label="{node.name}{parent}: {title}">'
        f'<img src="data:image/jpeg;base64,{data}" alt="">{node.name}</button>'
    )


class Versions:
    """The versions of one place: which there are, which is shown, and the way between them.

    Args:
        generation: Whose place it is.
        slot: The place.
        session: Knows how versions came from each other.
        run: Calls a function on the kernel's loop.
        work: Starts a coroutine on it.

    Attributes:
        strip: The row of small pictures, from two versions on.
        turning: Back, the version's name, and forward; from two versions on.
        coming: Number of versions that are being made.
    """

    def __init__(
        self,
        generation: Generation,
        slot: Slot,
        session: Session,
        run: Run,
        work: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self._generation = generation
        self._slot = slot
        self._session = session
        self._work = work
        self._known: tuple[str, ...] = ()
        self._shown: str | None = None
        self._drawing = 0
        self._showing = 0
        self._wanted = ""  # the id of the version that is about to be shown
        self.coming = 0
        self.strip = widgets.HTML(layout=widgets.Layout(display="none"))
        self._run = run
        self.turning = row(display="none")

    @property
    def here(self) -> Node[GeneratedImage] | None:
        """The version that is shown, once the tree is known."""
        tree, shown = self._slot.tree, self._slot.shown
        return tree.find(shown) if tree and shown else None

    def refresh(self) -> None:
        """Follow what the place shows now."""
        shown = self._slot.shown
        known = tuple(image.id for image in self._slot.versions)
        if shown is not None and known != self._known:
            self._known = known
            # What this kernel has just made stands alone; others may have versions elsewhere.
            is_fresh = shown in self._slot.task.images and not shown.reused
            if len(known) > 1 or not is_fresh:
                self._work(self.grow())
        if shown is not None and shown.id != self._shown:
            self._shown = shown.id
            self._work(self.draw())
        self._number()

    def _number(self) -> None:
        tree, here = self._slot.tree, self.here
        if tree is None or here is None or len(tree) + self.coming < 2:  # noqa: PLR2004 (the first)
            display_when(self.turning, when=False)
            return
        back, name, forward = self._turners
        place = tree.nodes.index(here)
        name.value = f"{here.name} of {len(tree)}"
        back.disabled = place == 0
        forward.disabled = place == len(tree) - 1
        self.turning.children = self._turners
        display_when(self.turning, when=True)

    @cached_property
    def _turners(self) -> tuple[widgets.Button, widgets.Label, widgets.Button]:
        back = button("◀", "Previous version", self._run, lambda: self.turn(-1))
        forward = button("▶", "Next version", self._run, lambda: self.turn(1), beside=back)
        return back, widgets.Label(), forward

    async def grow(self) -> None:
        """Look up how the versions came from each other, also in other cells and kernels."""
        self._slot.tree = await asyncio.to_thread(self._session.tree, list(self._slot.versions))
        await self.draw()
        self._generation.changed()

    async def draw(self) -> None:
        """Draw the row of versions."""
        tree, shown, html = self._slot.tree, self._slot.shown, ""
        self._number()
        self._drawing += 1
        mine = self._drawing
        if shown is not None and tree is not None and (len(tree) > 1 or self.coming):
            thumbnail, coming = self._session.library.thumbnail, self.coming
            html = await asyncio.to_thread(strip_html, tree, shown, thumbnail, coming)
        if mine == self._drawing:  # else there is something newer to draw
            self.strip.value = html
            display_when(self.strip, when=bool(html))

    def turn(self, step: int) -> None:
        """Go so many versions on, as far as there are any."""
        tree, here = self._slot.tree, self.here
        if tree is not None and here is not None:
            # From where the click before leads to, which may not be shown yet.
            here = next((node for node in tree if node.image.id == self._wanted), here)
            place = min(max(tree.nodes.index(here) + step, 0), len(tree) - 1)
            self._wanted = tree.nodes[place].image.id
            self._work(self.show(self._wanted))

    async def show(self, image_id: str) -> None:
        """Show the version with this id, where there is one and none is asked for after it."""
        self._showing += 1
        mine, self._wanted = self._showing, image_id
        try:
            for node in [node for node in self._slot.tree or () if node.image.id == image_id]:
                await asyncio.to_thread(self._session.library.prepare, node.image)
                if mine == self._showing:
                    self._generation.show_version(self._slot, node.image)
                    await self._session.pipeline.shown_versions.keep(self._generation, self._slot)
        finally:
            if mine == self._showing:
                self._wanted = ""
