"""The buttons under a picture: what can be done with it, and the way through its versions."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.core.chain import BACKGROUND_MODEL, REFINE_MODEL, UPSCALE_MODEL
from runapi_magic.display.theme import FONT
from runapi_magic.display.unseen import watch
from runapi_magic.errors import RunAPIError
from runapi_magic.media.files import short_path
from runapi_magic.widgets.bridge import Bridge
from runapi_magic.widgets.desk import Desk
from runapi_magic.widgets.drawers import (
    BUTTON,
    CellDrawer,
    ChoiceDrawer,
    CompareDrawer,
    Drawer,
    EntryDrawer,
    button,
    display_when,
    row,
    style,
)
from runapi_magic.widgets.guard import Guard
from runapi_magic.widgets.placed import Placed
from runapi_magic.widgets.prices import PricedButton, priced
from runapi_magic.widgets.strip import Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.engine.backend import Price, Service
    from runapi_magic.engine.generation import Generation, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.session import Session

_TICK = 1.0  # seconds between two updates of the progress
_TOO_SOON = 2.0  # seconds after a paid click in which another one is asked about
_CLASS = "runapi-toolbar"
_PRESETS = (
    ("Presets", ""),
    ("Remove the background", BACKGROUND_MODEL),
    ("Add …", "Add sunglasses"),
    ("Change the text to …", "Change the text to HELLO"),
)  # the guide's examples, but for the background: a model of its own does that for less
_FACTORS = (2, 4)
_TURNS = ("-1", "1")  # by the arrow keys


class Toolbar:
    """The buttons of one place. They appear when its picture does.

    Every callback hands over to the kernel's loop: it may run on another thread.

    What is not seen yet is not made yet. Each widget is a message or three to the page, and where
    more than about 1,000 wait for a slow page, ZeroMQ drops the rest, pictures among them.

    Attributes:
        widget: All of it.
    """

    def __init__(self, generation: Generation, slot: Slot, session: Session) -> None:
        self._desk = Desk(lambda lines: self._say(" ".join(lines)))
        self._generation = generation
        self._slot = slot
        self._session = session
        self._jobs: list[Generation] = []
        self._mode: Callable[[str], None] = self._edit
        self._opener: widgets.Button | None = None
        self._entries = 0  # so often was the field for a text opened
        self._warned: tuple[Any, Any] | None = None
        self._is_there_at_once = slot.shown is not None
        self._announced: str | None = None
        # What was started last, and when; monotonic time in seconds.
        self._started: tuple[tuple[object, ...], float] = ((), -math.inf)
        self._actions: tuple[widgets.Widget, ...] = ()

        run = self._desk.run
        self.cancel = button("Cancel", "Stop waiting for this picture", run, generation.cancel)
        self._buttons = row(self.cancel)
        self._drawers = widgets.VBox()  # those that were open once, under the buttons
        self.versions = Versions(generation, slot, session, run, self._desk.work)
        self.status = widgets.HTML()
        # A line, also where there is nothing to say: nothing moves.
        self._told = row(self.status, min_height="32px")
        self.guard = Guard(self._make_ways_out)
        self._bridge = Bridge(self._on_action, _CLASS)
        self.widget = widgets.VBox(
            [
                self._buttons,
                self._drawers,
                self.versions.strip,
                self._told,
                self.guard.widget,
                style(),
                self._bridge,
                self._bridge.missing,
            ]
        )
        self.widget.add_class(_CLASS)
        self._placed: list[Placed] = []
        self._refresh()
        generation.subscribe(self._refresh)

    def show(self) -> Placed:
        """Display the buttons in the cell that runs now."""
        self._placed.append(Placed(self.widget))
        return self._placed[-1]

    def _make_actions(self) -> None:
        """Put the buttons of a picture in the place of Cancel."""
        run = self._desk.run
        self.edit = button("Edit", "Change this picture by an instruction", run, self._open_edit)

        def make(text: str, hint: str, act: Callable[[], object]) -> widgets.Button:
            return button(text, hint, run, act, beside=self.edit)

        self.presets = widgets.Dropdown(
            options=_PRESETS,
            description="Presets",
            layout=widgets.Layout(width="150px", height=BUTTON["height"]),
            tooltip="Instructions to begin with",
        )
        self.presets.add_class("runapi-unseen-label")
        self.presets.observe(self._on_preset, "value")
        self._again_priced = PricedButton(
            "Again",
            "Make a new picture from the same request",
            run,
            self._again,
            self._say,
            beside=self.edit,
        )
        self.again = self._again_priced.widget
        self.upscale = make("Upscale", "Enlarge this picture with Topaz", self._open_upscale)
        self.refine = make("Refine", "Change details with Flux Kontext", self._open_refine)
        self.compare = make("Compare", "See two versions side by side", self._open_compare)
        self.save = make("Save as", "Save a copy of the original", self._open_save)
        self.copy = make("Copy as cell", "The cell that makes this picture again", self._open_cell)
        self._actions = (
            self.edit, self.presets, self.again, self.upscale, self.refine, self.compare,
            self.save, self.copy,
        )  # fmt: skip
        self._buttons.children = (*self._actions, self.versions.turning)

    def _make_ways_out(self) -> tuple[widgets.Button, ...]:
        """Return what could be done instead of one more edit."""
        self._original = PricedButton(
            "From the original",
            "Ask for all the changes at once, from the first version",
            self._desk.run,
            lambda: self._add(self._session.from_original, "Starting over"),
            self._say,
        )
        original = self._original.widget
        refine = button(
            "Refine with Flux Kontext",
            "Flux Kontext keeps more of a picture over several passes",
            self._desk.run,
            self._open_refine,
            beside=original,
        )
        return original, refine

    @cached_property
    def entry(self) -> EntryDrawer:
        """The field for an instruction or a path."""
        run, carry = self._desk.run, self._bridge.carry
        return EntryDrawer(run, carry, lambda text: self._mode(text), self._close)  # noqa: PLW0108 (it changes)

    @cached_property
    def choice(self) -> ChoiceDrawer:
        """The factors of an upscale."""
        return ChoiceDrawer(self._desk.run, self._close)

    @cached_property
    def comparison(self) -> CompareDrawer:
        """The picture beside another version."""
        run, work = self._desk.run, self._desk.work
        return CompareDrawer(run, lambda: work(self._draw_comparison()), self._close)

    @cached_property
    def cell(self) -> CellDrawer:
        """The picture's cell."""
        return CellDrawer(self._desk.run, self._bridge.copy, self._close)

    @cached_property
    def stop(self) -> widgets.Button:
        """Ends the waiting for new versions."""
        hint = "Stop waiting for the new version"
        made = button("Stop waiting", hint, self._desk.run, self._stop)
        self._told.children = (self.status, made)
        return made

    def _say(self, text: str) -> None:
        self._show_status(text)
        self._bridge.say(text)

    def _show_status(self, text: str) -> None:
        self.status.value = f'<div style="{FONT}">{escape(text)}</div>'

    def _clear_status(self) -> None:
        """Take away what was said, unless it is of what is under way."""
        if not self._jobs:
            self.status.value = ""

    # What is seen

    def _refresh(self) -> None:
        shown = self._slot.shown
        task = self._slot.task
        is_of_no_use = shown is None and (task.is_done or task.awaits_approval)
        display_when(self.widget, when=not is_of_no_use)
        # The row of buttons is as high before the picture comes as after: nothing moves.
        if shown is not None and not self._actions:
            self._make_actions()
        self._bridge.alt = shown.alt if shown else ""
        self.versions.refresh()
        self._warn()

    def _warn(self) -> None:
        """Say so where one more edit would be the third pass on a line."""
        shown, tree = self._slot.shown, self._slot.tree
        now = (shown, tree)
        if now == self._warned:
            return
        self._warned = now
        here = self.versions.here
        self.guard.show(shown, tree.worth(here) if tree and here else "")
        if shown is not None and self._session.connection.asks_colab:
            self._desk.work(self._find_prices(shown))
        elif shown is not None:
            with contextlib.suppress(RunAPIError):  # a click says what is wrong
                self._show_prices(shown, self._session.service())
        self._announce()
        self._clear_status()

    async def _find_prices(self, shown: GeneratedImage) -> None:
        """Do the same where it takes a while to find out who is to be asked for prices."""
        with contextlib.suppress(RunAPIError):
            service = await self._session.connection.get_service()
            if shown is self._slot.shown:
                self._show_prices(shown, service)

    def _show_prices(self, shown: GeneratedImage, service: Service) -> None:
        """Put the prices of what one click starts on the buttons."""
        work = self._desk.work
        work(self._again_priced.show_price(service, replace(shown.request, count=1)))
        if self.guard.words:
            request = self._session.edit_request(shown.line[0])
            work(self._original.show_price(service, request))

    def _announce(self) -> None:
        """Say which picture is shown, where it is another one than before."""
        shown, here = self._slot.shown, self.versions.here
        if shown is None or shown.id == self._announced:
            return
        is_first, self._announced = self._announced is None, shown.id
        if is_first and self._is_there_at_once:
            return
        title = " ".join(shown.request.title.split())
        words = f"{here.name}: {title}" if here else title
        self._bridge.say(f"Shown: {words}. {self.guard.words}".strip())

    def _on_action(self, action: str, value: str) -> None:
        """Act on what happened in the page; it is not trusted."""
        match action:
            case "show":
                self._desk.run(lambda: self._desk.work(self.versions.show(value)))
            case "turn" if value in _TURNS:
                self._desk.run(lambda: self.versions.turn(int(value)))
            case "enter":
                self._desk.run(lambda: self._mode(value.strip()))
            case "escape":
                self._desk.run(self._close)
            case "copied":
                done = "Copied; paste it into a new cell."
                help_ = "Select the text and copy it with Ctrl+C."
                self._desk.run(lambda: self._say(done if value == "yes" else help_))

    # What opens below the buttons

    def _open(self, drawer: Drawer, opener: widgets.Button) -> None:
        """Show a drawer that is filled."""
        self._opener = None  # the focus goes on to the new drawer
        self._close()
        self._opener = opener
        self._clear_status()  # what it says is of the drawer before
        display_when(drawer.widget, when=True)
        if drawer.widget not in self._drawers.children:
            self._drawers.children = (*self._drawers.children, drawer.widget)
        self._bridge.focus(drawer.focused)

    def _close(self) -> None:
        for drawer in self._drawers.children:
            display_when(drawer, when=False)
        if self._opener is not None:
            self._bridge.focus(f'button[title="{self._opener.tooltip}"]')
            self._opener = None

    def _open_entry(self, opener: widgets.Button, mode: Callable[[str], None], *texts: str) -> None:
        self._mode = mode
        self._entries += 1
        self.entry.fill(*texts)
        self._open(self.entry, opener)

    def _open_edit(self, text: str = "") -> None:
        self._open_entry(
            self.edit, self._edit, "Edit", "What to change, for example: make it night", text, "Go"
        )
        self._desk.work(self._quote(None, self._entries))

    def _on_preset(self, change: Any) -> None:
        chosen = change["new"]
        if chosen:
            self.presets.value = ""
            is_background = chosen == BACKGROUND_MODEL
            self._desk.run(
                self._open_background if is_background else lambda: self._open_edit(chosen)
            )

    def _open_refine(self) -> None:
        hint = "What to refine, for example: softer light"
        self._open_entry(self.refine, self._refine, "Refine with Flux Kontext", hint, "", "Go")
        self._desk.work(self._quote(REFINE_MODEL, self._entries))

    def _open_save(self) -> None:
        if self._slot.shown is not None:
            name = f"copy-of-{self._slot.shown.path.name}"
            self._open_entry(self.save, self._save, "Save as", "Path of the copy", name, "Save")

    def _open_upscale(self) -> None:
        image = self._slot.shown
        if image is None:
            return

        def enlarge(factor: int) -> Callable[[], None]:
            def start(image: GeneratedImage) -> Generation:
                return self._session.edit(image, "", model=UPSCALE_MODEL, upscale_factor=factor)

            return lambda: self._add(start, "Enlarging", factor)

        words = "{0} times: {1} x {2} px"
        self.choice.open(
            "Upscale with Topaz",
            [
                (
                    words.format(factor, image.width * factor, image.height * factor),
                    "Send",
                    enlarge(factor),
                )
                for factor in _FACTORS
            ],
        )
        self._open(self.choice, self.upscale)
        price = self._session.edit_price
        self._price_choices(*(price(image, UPSCALE_MODEL, upscale_factor=f) for f in _FACTORS))

    def _open_background(self) -> None:
        image = self._slot.shown
        if image is None:
            return

        def remove() -> None:
            self._add(
                lambda image: self._session.edit(image, "", model=BACKGROUND_MODEL),
                "Removing the background",
            )

        self.choice.open(
            "Remove the background with Recraft", [("Remove the background", "Send", remove)]
        )
        self._open(self.choice, self.edit)
        self._price_choices(self._session.edit_price(image, BACKGROUND_MODEL))

    def _price_choices(self, *asked: Coroutine[Any, Any, Price | None]) -> None:
        """Put the prices on what can be chosen now, once they are known."""
        chosen = self.choice.buttons

        async def show(one: widgets.Button, asking: Coroutine[Any, Any, Price | None]) -> None:
            one.description = priced(one.description, await asking)

        for one, asking in zip(chosen, asked, strict=True):
            self._desk.work(show(one, asking))

    async def _quote(self, model: str | None, entry: int) -> None:
        """Put the price on the button, once it is known and if it still asks for this."""
        image = self._slot.shown
        if image is not None:
            price = await self._session.edit_price(image, model)
            if entry == self._entries:
                self.entry.go.description = priced("Go", price)

    def _open_compare(self) -> None:
        tree, here = self._slot.tree, self.versions.here
        if tree is None or here is None or len(tree) < 2:  # noqa: PLR2004 (two are compared)
            self._say("There is one version only: nothing to compare it with yet.")
            return
        others = [node for node in tree if node is not here]
        before = tree.nodes[here.parent] if here.parent is not None else others[0]
        self.comparison.open(others, before)
        self._open(self.comparison, self.compare)
        self._desk.work(self._draw_comparison())

    async def _draw_comparison(self) -> None:
        wanted, here = self.comparison.other.value, self.versions.here
        other = next((node for node in self._slot.tree or () if node.image.id == wanted), None)
        if here is None or other is None:
            return

        def draw() -> str:
            for node in (other, here):
                self._session.library.prepare(node.image)
            return self.comparison.draw(other.image, here.image, (other.name, here.name))

        self.comparison.picture.value = await asyncio.to_thread(draw)

    def _open_cell(self) -> None:
        if self._slot.shown is not None:
            self._open(self.cell, self.copy)
            self._desk.work(self._write_cell(self._slot.shown))

    async def _write_cell(self, image: GeneratedImage) -> None:
        step = await asyncio.to_thread(self._session.cell, image)
        line = await asyncio.to_thread(self._session.library.cells, image)
        self.cell.open(step, "\n\n".join(line))

    # What asks the service

    def _edit(self, text: str, model: str | None = None, doing: str = "Editing") -> None:
        if not text:
            self._say("Write what to change. Nothing was sent.")
            return
        if self._slot.shown is not None:
            self.guard.keep_room(self._slot.shown)
        self._add(lambda image: self._session.revise(image, text, model), doing, text, model)

    def _refine(self, text: str) -> None:
        self._edit(text, REFINE_MODEL, "Refining")

    def _again(self) -> None:
        self._add(self._session.repeat, "Making another")

    def _add(
        self, start: Callable[[GeneratedImage], Generation], doing: str, *details: object
    ) -> None:
        """Start a request; ask first where the same one was started a moment ago.

        Args:
            start: Starts it.
            doing: What is said of it meanwhile.
            details: What tells it from others of its kind.
        """
        image = self._slot.shown
        if image is None:
            return
        this = (image.id, doing, *details)

        def go() -> None:
            child = start(image)
            self._started = this, time.monotonic()
            self._close()
            self._desk.work(self._bring(child, doing))

        last, when = self._started
        if last != this or time.monotonic() - when >= _TOO_SOON:
            go()
            return
        words = "This was started a moment ago. Start it once more?"
        asked = self._started

        def go_once() -> None:
            if self._started is asked:  # else this is the second half of a double click
                go()

        # Not on the button that pays: a third press of Enter would press it.
        self.choice.open(
            words, [("Start another one", "Pay for one more", go_once)], is_careful=True
        )
        self._open(self.choice, self.again)
        self._bridge.say(words)
        if start == self._session.repeat:
            request = replace(image.request, count=1)
            self._price_choices(self._session.price(request))

    def _stop(self) -> None:
        for child in self._jobs:
            child.cancel()

    async def _bring(self, child: Generation, doing: str) -> None:
        """Show the picture of a request as this place's next version."""
        watch(child, lambda: child.images, self._placed, self._session)
        self._jobs.append(child)
        self._count()
        try:
            if self._slot.tree is None:
                await self.versions.grow()
            await self.versions.draw()
            await self._watch(child, doing)
            await child.wait()
        finally:
            self._jobs.remove(child)
            self._count()
            await self.versions.draw()
        self.status.value = ""
        await asyncio.to_thread(self._session.library.prepare, child.image)
        self._generation.show_version(self._slot, child.image)
        await self._session.pipeline.shown_versions.keep(self._generation, self._slot)

    def _count(self) -> None:
        self.versions.coming = len(self._jobs)
        display_when(self.stop, when=bool(self._jobs))

    async def _watch(self, child: Generation, doing: str) -> None:
        begun, end = time.monotonic(), asyncio.ensure_future(child.ended())
        self._bridge.say(f"{doing} …")  # once; not the seconds
        while not end.done():
            elapsed = time.monotonic() - begun
            about = child.tasks[0].expectation.median
            more = f" ({len(self._jobs)} under way)" if len(self._jobs) > 1 else ""
            self._show_status(f"{doing} … {elapsed:.0f} s, usually about {about:.0f} s{more}")
            await asyncio.wait([end], timeout=_TICK)

    def _save(self, text: str) -> None:
        if self._slot.shown is not None:
            self._desk.work(self._save_copy(self._slot.shown, text))

    async def _save_copy(self, image: GeneratedImage, text: str) -> None:
        path = await asyncio.to_thread(self._session.save_copy, image, text)
        self._close()
        self._say(f"Saved: {short_path(path)}")


def show_toolbar(generation: Generation, slot: Slot, session: Session) -> Placed:
    """Make the buttons of one place and display them in the cell that runs now."""
    return Toolbar(generation, slot, session).show()
