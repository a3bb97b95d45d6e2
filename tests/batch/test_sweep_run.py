"""Sweeps on the simulator: requests, the contact sheet, and retries."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading

import pytest
from PIL import Image

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.batch.sweep import Sweep, parse_sweep, sweep_items
from runapi_magic.display.batch_view import SheetView
from runapi_magic.display.environment import Audience
from runapi_magic.display.terminal import show_batch_in_terminal
from tests.conftest import serve_simulator
from tests.servers import Service

pytestmark = pytest.mark.server

STYLES = ["oil", "ink", "pixel"]
FAULT = "status=failed,match=ink at dusk,message=The filter refused it"
STUCK = "status=stuck,match=pixel at night"
REASON = "The filter refused it"


@pytest.fixture(scope="module")
def _server():
    """A server that is slow enough for a fault at the first poll."""
    with serve_simulator("--speed", "25", "--balance-cents", "100000") as server:
        yield server


@pytest.fixture
def service(_server):
    """A simulator without faults."""
    return Service(_server)


@pytest.fixture
def shown(monkeypatch):
    """The displayed sheets and captions with their metadata, oldest first."""
    calls = []

    class Handle:
        def display(self, data, **more):
            calls.append(("display", data, more["metadata"]))

        def update(self, data, **more):
            calls.append(("update", data, more["metadata"]))

    monkeypatch.setattr("runapi_magic.display.batch_view.DisplayHandle", Handle)
    return calls


def _sheets(shown):
    return [call for call in shown if "image/jpeg" in call[1]]


def _captions(shown):
    return [data for _, data, _ in shown if "text/html" in data]


def _three_by_four(session, place="a harbour"):
    def make(words, fields):
        return session.request(words, **fields)

    texts = "style={styles}", "time=dawn,noon,dusk,night"
    sweeps = [parse_sweep(text, {"styles": STYLES}) for text in texts]
    prompt = f"{place} in {{style}} at {{time}}"
    return Sweep(sweep_items(prompt, sweeps, make, namespace={}), title=prompt)


def test_three_by_four_with_a_failure(use, service, shown):
    """Of 12 items, 11 have images and one has its error in the cell; a retry sends one request."""
    service.fault(FAULT)

    async def body(session):
        sweep = _three_by_four(session)
        SheetView(sweep, session, Audience.UNATTENDED)
        await begin_batch(session, sweep)
        assert len(service.tasks) == 12
        assert (len(sweep.pictures), sweep.counts["failed"]) == (11, 1)
        assert REASON in sweep["ink", "dusk"].error.what
        assert sweep.cost == pytest.approx(0.66)
        assert sweep.images["pixel", "night"].prompt == "a harbour in pixel at night"
        _, sheet, size = _sheets(shown)[-1]
        assert sheet["text/plain"].count("completed") == 11
        assert sheet["text/plain"].count(REASON) == 1
        assert len(base64.b64encode(sheet["image/jpeg"])) <= 150_000
        assert max(size["image/jpeg"][name] for name in ("width", "height")) <= 768
        caption = _captions(shown)[-1]
        assert "11 of 12 images, 1 failed · $0.66 · " in caption["text/plain"]
        assert "<strong>ink, dusk:</strong>" in caption["text/html"]
        assert REASON in caption["text/html"]

        await sweep.retry_failed()
        assert len(service.tasks) == 13
        assert service.tasks[-1]["body"]["prompt"] == "a harbour in ink at dusk"
        assert sweep.counts["failed"] == 1

    use(service, body)


def test_a_caption_is_not_ahead_of_its_sheet(use, service, shown):
    """The caption counts the images that the sheet shows, not those that arrive meanwhile."""

    async def body(session):
        def make(words, fields):
            return session.request(words, **fields)

        times = [parse_sweep("time=dawn,noon", {})]
        sweep = Sweep(sweep_items("a dam at {time}", times, make, namespace={}), title="a dam")
        view = SheetView(sweep, session, Audience.LIVE)
        draw, ended = view._draw, threading.Event()

        def draw_slowly():
            sheet = draw()
            assert ended.wait(60)
            return sheet

        view._draw = draw_slowly
        sweep.subscribe(lambda: ended.set() if sweep.is_done else None)
        await begin_batch(session, sweep)
        await view._task

    use(service, body)
    drawn = counted = 0
    for _, data, _ in shown:
        if "image/jpeg" in data:
            drawn = data["text/plain"].count("completed")
        else:
            counted = int(re.search(r"(\d+) of 2 images", data["text/plain"])[1])
            assert counted <= drawn
    assert counted == 2


def test_a_second_run_is_from_disk(use, service, shown):
    """The same sweep again sends only the failed request, and says what it saved."""
    service.fault(FAULT)

    async def body(session):
        await begin_batch(session, _three_by_four(session, "a mill"))
        again = _three_by_four(session, "a mill")
        SheetView(again, session, Audience.UNATTENDED)
        await begin_batch(session, again)
        assert len(service.tasks) == 13
        assert (
            "11 of 12 images, 1 failed · saved $0.66 (cached)" in _captions(shown)[-1]["text/plain"]
        )

    use(service, body)


def test_unattended_shows_only_the_end(use, service, shown, monkeypatch):
    """Without a person, only the first and the last sheet are shown, also in a cell that waits."""
    cells = ["one"]
    monkeypatch.setattr("runapi_magic.display.batch_view.current_cell", lambda: cells[-1])

    async def body(session):
        sweep = _three_by_four(session, "a lake")
        SheetView(sweep, session, Audience.UNATTENDED)
        begin_batch(session, sweep)
        cells.append("two")
        await sweep
        kinds = [kind for kind, _, _ in _sheets(shown)]
        assert kinds[0] == "display"
        assert kinds[-1] == "display"
        assert set(kinds[1:-1]) == {"update"}
        assert _sheets(shown)[-1][1]["text/plain"].count("completed") == 12
        assert all("completed" in data["text/plain"] for _, data, _ in _sheets(shown)[1:])
        before = len(shown)
        await sweep
        assert len(shown) == before

    use(service, body)


def test_live_updates(use, service, shown, monkeypatch):
    """With a person, the sheet is updated at most once a second, and the event loop stays free."""
    monkeypatch.setattr("runapi_magic.display.batch_view._TICK", 0.1)
    service.fault(STUCK)

    async def body(session):
        sweep = _three_by_four(session, "a fair")
        view = SheetView(sweep, session, Audience.LIVE)
        drawn = asyncio.Event()
        all_but_one = "11 of 12 images, 1 running"  # the sheet has what the caption counts
        view.subscribe(
            lambda: drawn.set() if all_but_one in _captions(shown)[-1]["text/plain"] else None
        )
        begin_batch(session, sweep)
        await drawn.wait()
        waiting = _sheets(shown)[0][1]["image/jpeg"]
        filled = _sheets(shown)[-1][1]["image/jpeg"]
        assert _colours(waiting) < _colours(filled)
        assert view.item_at(0.5, 0.5).variables["style"] == "ink"
        assert view.item_at(0.97, 0.95) is sweep["pixel", "night"]
        assert view.item_at(0, 0) is None
        sweep.cancel()
        ended = asyncio.Event()
        view.subscribe(lambda: ended.set() if sweep.is_done else None)
        await ended.wait()
        assert "11 of 12 images, 1 cancelled" in _captions(shown)[-1]["text/plain"]

    use(service, body)


def _colours(data):
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64))
    return len(set(image.get_flattened_data()))


def test_a_batch_without_axes(use, service, shown, capsys):
    """The sheet of a batch has numbers and prompts. A terminal gets the table, paths and errors."""
    service.fault(FAULT)

    async def body(session):
        prompts = ["a red hen", "a hen in ink at dusk", "a blue hen"]
        batch = Batch([Item(n, session.request(prompt)) for n, prompt in enumerate(prompts)])
        view = SheetView(batch, session, Audience.UNATTENDED)
        await begin_batch(session, batch)
        show_batch_in_terminal(batch)
        printed = capsys.readouterr().out
        assert [image.path.name for image in batch.images if image.path.name not in printed] == []
        assert "2 a hen in ink at dusk:" in printed
        assert REASON in printed
        assert view.item_at(0.5, 0.5) is batch.items[1]

    use(service, body)
