"""Quick clicks in widgets: the last one counts, and prices stand where they belong."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import types

from runapi_magic.core.chain import BACKGROUND_MODEL
from runapi_magic.display.generation_view import caption_bundle, image_bundle
from runapi_magic.display.theme import CHECKERBOARD
from runapi_magic.engine.backend import Price
from runapi_magic.errors import ConnectionFailedError
from runapi_magic.widgets import toolbar as toolbar_module
from runapi_magic.widgets.panel import Panel
from runapi_magic.widgets.toolbar import Toolbar
from tests.sessions import simulate


class _Slow:
    """An library's ``prepare`` that takes its time with some pictures."""

    def __init__(self, session, *slow):
        self._prepare = session.library.prepare
        self._slow = slow
        self.go_on = threading.Event()
        session.library.prepare = self

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
        child = await session.revise(generation.tasks[0].images[0], words)
        session.library.prepare(child.image)
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


async def _one_picture(session, **fields):
    generation = await session.generate("a cat", **fields)
    toolbar = Toolbar(generation, generation.slots[0], session)
    await _idle(toolbar._desk)
    return toolbar


def _tasks(session):
    return session.service().client.transport._app.state.simulator.tasks


def test_a_second_quick_click_asks():
    """Of three quick clicks on Again one starts a task; the others ask, with the price."""

    async def body(session):
        toolbar = await _one_picture(session)
        for _ in range(3):
            toolbar.again.click()
        await _until(lambda: toolbar.choice.buttons)
        await _idle(toolbar._desk)
        (more,) = toolbar.choice.buttons
        seen = len(_tasks(session)), toolbar.choice.widget.layout.display, more.description
        toolbar._close()
        await _until(lambda: toolbar._slot.index == 1)
        return seen, len(_tasks(session)), toolbar.choice.widget.layout.display

    seen = (2, None, "Start another one ($0.06)")
    assert simulate(body) == (seen, 2, "none")


def test_the_question_starts_another_one():
    """A click on the question's button starts the second picture; the focus was not on it."""

    async def body(session):
        toolbar = await _one_picture(session)
        toolbar.again.click()
        toolbar.again.click()
        await _until(lambda: toolbar.choice.buttons)
        focused = toolbar.choice.focused
        toolbar.choice.buttons[0].click()
        await _until(lambda: len(_tasks(session)) == 3)
        await _idle(toolbar._desk)
        return focused

    assert simulate(body) == ".runapi-drawer-choice button:last-of-type"


def test_a_double_click_on_the_question_starts_one():
    """A double click on the button that starts another picture pays for one, and not for two."""

    async def body(session):
        toolbar = await _one_picture(session)
        toolbar.again.click()
        toolbar.again.click()
        await _until(lambda: toolbar.choice.buttons)
        (more,) = toolbar.choice.buttons
        more.click()
        more.click()
        await _until(lambda: len(_tasks(session)) == 3)
        await _idle(toolbar._desk)
        return len(_tasks(session))

    assert simulate(body) == 3


def test_a_later_click_asks_nothing(monkeypatch):
    """Clicks that are some seconds apart start a picture each."""
    monkeypatch.setattr(toolbar_module, "_TOO_SOON", 0.0)

    async def body(session):
        toolbar = await _one_picture(session)
        for _ in range(2):
            toolbar.again.click()
        await _until(lambda: len(_tasks(session)) == 3)
        await _idle(toolbar._desk)

    simulate(body)


def test_instructions_that_are_sent_twice():
    """Enter and a click on Go right after each other are one edit, and a question."""

    async def body(session):
        toolbar = await _one_picture(session)
        toolbar._open_edit("make it blue")
        toolbar._on_action("enter", "make it blue")
        toolbar._on_action("enter", "make it blue")
        await _until(lambda: toolbar._slot.index == 1)
        await _idle(toolbar._desk)
        return len(_tasks(session))

    assert simulate(body) == 2


def test_one_click_has_its_price():
    """What one click starts has its price on the button, that of the version that is shown."""

    async def body(session):
        toolbar = await _one_picture(session, output_resolution="2k")
        before = toolbar.again.description
        (slot,) = toolbar._generation.slots
        for words in ("at night", "in snow"):
            child = await session.revise(slot.shown, words, "flux-kontext-pro")
            session.library.prepare(child.image)
            toolbar._generation.show_version(slot, child.image)
            await _idle(toolbar._desk)
        return before, toolbar.again.description, toolbar._original.widget.description

    prices = ("Again ($0.10)", "Again ($0.05)", "From the original ($0.10)")
    assert simulate(body) == prices


def test_one_click_at_an_unknown_price():
    """A button says that its price is not known; until then a click starts nothing."""

    async def body(session):
        generation = await session.generate("a cat", model="gpt-image-2.5-flare")
        toolbar, known = Toolbar(generation, generation.slots[0], session), asyncio.Event()

        async def quote(*_):
            await known.wait()
            raise ConnectionFailedError("gone")

        session.service()._quotes._ask = quote
        await asyncio.sleep(0)
        asking = toolbar.again.description
        toolbar.again.click()
        await _until(lambda: "Nothing was sent" in toolbar.status.value)
        known.set()
        await _idle(toolbar._desk)
        return asking, toolbar.again.description, len(_tasks(session))

    words = ("Again (asking for the price)", "Again (price not known)", 1)
    assert simulate(body) == words


def test_an_estimate_stands_there_at_once():
    """Until the quote comes the catalogue's price is on the button."""

    async def body(session):
        generation = await session.generate("a cat")
        toolbar = Toolbar(generation, generation.slots[0], session)
        await asyncio.sleep(0)
        first = toolbar.again.description
        await _idle(toolbar._desk)
        return first, toolbar.again.description

    assert simulate(body) == ("Again (about $0.06)", "Again ($0.06)")


def test_another_instruction_is_meant():
    """Two different instructions right after each other are two edits, without a question."""

    async def body(session):
        toolbar = await _one_picture(session)
        for words in ("make it blue", "make it red"):
            toolbar._open_edit()
            toolbar._on_action("enter", words)
        await _until(lambda: len(_tasks(session)) == 3)
        await _idle(toolbar._desk)

    simulate(body)


def test_the_preset_for_the_background_is_recraft():
    """The preset offers Recraft at its price, and the result is transparent on a checkerboard."""

    async def body(session):
        toolbar = await _one_picture(session)
        toolbar.presets.value = BACKGROUND_MODEL
        await _until(lambda: toolbar.choice.buttons)
        await _idle(toolbar._desk)
        (remove,) = toolbar.choice.buttons
        before, price = len(_tasks(session)), remove.description
        remove.click()
        await _until(lambda: toolbar._slot.index == 1)
        await _idle(toolbar._desk)
        first, cut_out = toolbar._slot.versions
        html = [caption_bundle(image, []).data["text/html"] for image in (first, cut_out)]
        data = image_bundle(cut_out).data
        return before, price, cut_out.model, sorted(data), [CHECKERBOARD in one for one in html]

    assert simulate(body) == (
        1,
        "Remove the background ($0.01)",
        BACKGROUND_MODEL,
        ["image/png", "text/plain"],
        [False, True],
    )


def test_the_panel_asks_before_many_pictures():
    """Generate asks in the panel before pictures that are many or of unknown price are sent."""

    async def body(session):
        panel = Panel(session)
        panel.prompt.value, panel.count.value = "a cat", 3
        panel.go.click()
        await _until(lambda: panel._questions.children)
        await _until(lambda: panel._questions.children[0].layout.display is None)
        words, _, decline, _ = panel._questions.children[0].children
        asked = words.value
        decline.click()
        await _until(lambda: not panel._questions.children)
        await _idle(panel._desk)
        return "3 images: $0.18 (quoted)" in asked, len(_tasks(session))

    assert simulate(body, ask_above_count=2) == (True, 0)


def test_prices_on_buttons_do_not_hold_up_the_loop(monkeypatch):
    """In Colab, which takes seconds to give the key, prices are asked for off the event loop."""
    threads = []
    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(
        get=lambda _: threads.append(threading.current_thread()) or "sk-test-0123456789"
    )

    async def body(session):
        generation = await session.generate("a cat")
        monkeypatch.setitem(sys.modules, "google.colab", colab)
        session.connection.simulator_off()
        cells = itertools.count()
        session.connection.cell_id = lambda: str(next(cells))
        toolbar = Toolbar(generation, generation.slots[0], session)
        await _until(lambda: "$" in toolbar.again.description)
        await session.edit_price(generation.image)
        await session.cost([generation.request])
        await _idle(toolbar._desk)
        await session.connection._remote.client.transport.close()
        session.connection.simulator_on()
        return threading.main_thread() in threads, len(threads) > 2

    assert simulate(body, base_url="http://127.0.0.1:9") == (False, True)
