"""Quick clicks in widgets: the last one counts, and prices stand where they belong."""

from __future__ import annotations

import asyncio
import threading

from runapi_magic.service import Price
from runapi_magic.widgets.panel import Panel
from runapi_magic.widgets.toolbar import Toolbar
from tests.sessions import simulate


class _Slow:
    """An archive's ``prepare`` that takes its time with some pictures."""

    def __init__(self, session, *slow):
        self._prepare = session.archive.prepare
        self._slow = slow
        self.go_on = threading.Event()
        session.archive.prepare = self

    def __call__(self, image):
        if image.id in self._slow:
            self.go_on.wait(10)
        self._prepare(image)


async def _until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (widgets tell nobody)
            await asyncio.sleep(0.001)


async def _idle(desk):
    await _until(lambda: not desk._working)


async def _three_versions(session):
    generation = await session.generate("a cat")
    (slot,) = generation.slots
    toolbar = Toolbar(generation, slot, session)
    for words in ("at night", "in snow"):
        child = await session.revise(generation.parts[0].images[0], words)
        session.archive.prepare(child.image)
        generation.show_version(slot, child.image)
    await _until(lambda: slot.tree is not None and len(slot.tree) == 3)
    await _idle(toolbar._desk)
    return toolbar, slot, [node.image.id for node in slot.tree]


def test_two_quick_steps_are_two_steps():
    """Two clicks on the arrow, the second before the first is shown, lead two versions back."""

    async def body(session):
        toolbar, slot, ids = await _three_versions(session)
        slow = _Slow(session, ids[1])
        toolbar.versions.turn(-1)
        toolbar.versions.turn(-1)
        await _until(lambda: slot.shown.id == ids[0])
        slow.go_on.set()
        await _idle(toolbar._desk)
        return slot.shown.id == ids[0]

    assert simulate(body)


def test_the_version_that_was_clicked_last_is_shown():
    """A version that is slow to be read does not replace one that was clicked later."""

    async def body(session):
        toolbar, slot, ids = await _three_versions(session)
        slow = _Slow(session, ids[0])
        toolbar._on_action("show", ids[0])
        toolbar._on_action("show", ids[1])
        await _until(lambda: slot.shown.id == ids[1])
        slow.go_on.set()
        await _idle(toolbar._desk)
        return slot.shown.id == ids[1]

    assert simulate(body)


def test_the_picture_that_was_picked_last_is_shown():
    """In the panel, too, the last click on a small picture counts."""

    async def body(session):
        first, second = [(await session.generate(prompt)).image for prompt in ("a cat", "a dog")]
        panel, slow = Panel(session), _Slow(session, first.id)
        panel._on_action("pick", first.id)
        panel._on_action("pick", second.id)
        await _until(lambda: panel._stage.shown is not None)
        slow.go_on.set()
        await _idle(panel._desk)
        return panel._stage.shown.id == second.id

    assert simulate(body)


def test_a_late_price_is_not_that_of_what_is_asked_now():
    """The price of an edit that comes late does not stand on the button that saves a copy."""

    async def body(session):
        generation = await session.generate("a cat")
        toolbar, known = Toolbar(generation, generation.slots[0], session), asyncio.Event()

        async def edit_price(*_):
            await known.wait()
            return Price(0.06, is_quote=True)

        session.edit_price = edit_price
        toolbar._open_edit()
        toolbar._open_save()
        known.set()
        await _idle(toolbar._desk)
        return toolbar.entry.go.description

    assert simulate(body) == "Save"
