"""The contact sheet of a sweep in JupyterLab: its progress, clicks on its images, and retries."""

from __future__ import annotations

import base64
import io
import re

from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab import LOAD

REASON = "The filter refused it"
FAULT = f"status=failed,match=ink at dusk,message={REASON}"
STUCK = "status=stuck,match=pixel at night"
SWEEP = """%load_ext runapi_magic
from runapi_magic.notebook.api import open_session
from runapi_magic.display.environment import Audience
from runapi_magic.display.batch_view import SheetView
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.sweep import Sweep, sweep_items
from runapi_magic.widgets.sheet import show_sheet_controls

session = open_session()

def show(place, **variables):
    prompt = place + "".join(" {%s}" % name for name in variables)
    sweep = Sweep(sweep_items(
        prompt, list(variables.items()), lambda text, fields: session.request(text, **fields),
        namespace={}), title=prompt)
    begin_batch(session, sweep)
    SheetView(sweep, session, Audience.LIVE, show_sheet_controls)
    return sweep
"""
THREE_BY_FOUR = """sweep = show("a {0}",
    style=["in oil", "in ink", "in pixel"], time=["at dawn", "at noon", "at dusk", "at night"])"""


def _controls(lab):
    return lab.cell(1).locator(".runapi-sheet")


def _open(open_lab, *cells):
    lab = open_lab(SWEEP, *cells)
    lab.run(0)
    lab.run(1)
    expect(_controls(lab)).to_have_attribute("data-bridged", "")
    return lab


def _sheet(lab):
    return lab.images(1).first


def _click(lab, across, down):
    """Click an image of the 3 x 4 sheet, counted from 0, at its visible position."""
    box = _sheet(lab).bounding_box()
    x = box["width"] * (0.22 + 0.2 * across)
    y = box["height"] * (0.25 + 0.3 * down)
    _sheet(lab).click(position={"x": x, "y": y})


def _wait_for_text(lab, text):
    lab.wait_for_text(1, text, ".runapi-sheet")


def _pixels(lab):
    data = lab.source(1).partition(",")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB").resize((96, 96))


def test_sheet_with_a_failure(open_lab, server):
    """A failed cell shows its reason, a click opens an image, and a retry sends one request."""
    server.fault(FAULT)
    server.fault(STUCK)
    lab = _open(open_lab, THREE_BY_FOUR.format("barn"))
    lab.wait_for_text(1, re.compile("10 of 12 images, 1 failed, 1 running"))
    _click(lab, 3, 2)
    _wait_for_text(lab, "in pixel, at night: not there yet (running).")
    _click(lab, 2, 1)
    _wait_for_text(lab, re.compile(f"in ink, at dusk: .*{REASON}"))
    server.clear_faults()
    lab.wait_for_text(1, re.compile(r"11 of 12 images, 1 failed · \$0.66 · \d+ s · batch \w+"))
    expect(lab.images(1)).to_have_count(1)
    _click(lab, 1, 2)
    expect(lab.images(1)).to_have_count(2)
    lab.wait_for_text(1, "a barn in pixel at noon")
    expect(lab.button(1, "Edit")).to_be_visible()
    retry = lab.button(1, "Retry failed (1): $0.06")
    expect(retry).to_be_visible()
    before = len(server.state()["tasks"])
    retry.click()
    lab.wait_for_text(1, re.compile(r"12 of 12 images · \$0.72 "))
    expect(lab.cell(1).get_by_role("button", name=re.compile("^Retry"))).to_have_count(0)
    tasks = server.state()["tasks"][before:]
    assert [task["body"]["prompt"] for task in tasks] == ["a barn in ink at dusk"]


def test_menu_and_pointer(open_lab, server):
    """The menu opens an image by its values. Only the contact sheet shows a hand as the pointer."""
    lab = _open(open_lab, THREE_BY_FOUR.format("well"))
    lab.wait_for_text(1, re.compile("12 of 12 images"))
    menu = _controls(lab).get_by_role("combobox", name="Open")
    expect(menu.get_by_role("option")).to_have_count(13)
    menu.select_option("in ink, at dusk")
    lab.wait_for_text(1, "a well in ink at dusk")
    opened = lab.images(1).nth(1)
    opened.hover()
    expect(opened).not_to_have_css("cursor", "pointer")
    _sheet(lab).hover()
    expect(_sheet(lab)).to_have_css("cursor", "pointer")
    shown = opened.get_attribute("src")
    opened.click()
    expect(menu).to_have_value(re.compile("."))
    _click(lab, 0, 0)
    lab.wait_for_text(1, "a well in oil at dawn")
    expect(menu.locator("option:checked")).to_have_text("in oil, at dawn")
    assert lab.images(1).nth(1).get_attribute("src") != shown


def test_cancel(open_lab, server):
    """Cancel stops the running requests. Finished images stay, and the rest can be retried."""
    server.fault(STUCK)
    lab = _open(open_lab, THREE_BY_FOUR.format("gate"))
    lab.wait_for_text(1, re.compile("11 of 12 images, 1 running"))
    lab.click(1, "Cancel")
    lab.wait_for_text(1, re.compile("11 of 12 images, 1 cancelled"))
    expect(lab.button(1, "Cancel")).to_have_count(0)
    expect(
        lab.cell(1).get_by_role("button", name=re.compile(r"^Retry failed \(1\)"))
    ).to_be_visible()


def test_question_before_many_images(open_lab, server):
    """Before the confirmation the cell shows the question and one line, and no placeholders."""
    lab = open_lab(LOAD, "%gpt_image -n 12 a fox to be asked about")
    lab.run(0)
    lab.run(1)
    lab.wait_for_text(1, "Waiting for your click above")
    expect(lab.button(1, "Generate")).to_be_visible()
    buttons = lab.cell(1).locator(lab.output).get_by_role("button").locator("visible=true")
    expect(buttons).to_have_text(["Generate", "Cancel"])
    assert lab.cell(1).bounding_box()["height"] < 150
    lab.click(1, "Generate")
    lab.wait_for_images(1, 12)
    expect(lab.cell(1).get_by_text("Waiting for your click above")).to_have_count(0)


def test_sweep_over_the_maximum_cost(open_lab, server):
    """A sweep over --max-cost shows one error with its dollar signs, and no buttons."""
    lab = open_lab(LOAD, "%gpt_image --max-cost 0.1 --sweep animal=fox,owl a dear {animal}")
    lab.run(0)
    lab.run(1)
    lab.wait_for_text(1, "2 images: $0.12 (quoted), and the maximum cost is $0.10.")
    expect(lab.images(1)).to_have_count(0)
    expect(lab.cell(1).get_by_role("button", name=re.compile("^Retry"))).to_have_count(0)
    assert server.bodies("a dear") == []


def test_sheet_fills_in_and_is_saved(open_lab, server):
    """The contact sheet appears at once and fills in. After a save and a reload it is unchanged."""
    server.fault(STUCK)
    lab = _open(open_lab, THREE_BY_FOUR.format("ruin"))
    empty = _pixels(lab)
    lab.wait_for_text(1, re.compile("11 of 12 images, 1 running"))
    assert len(set(_pixels(lab).get_flattened_data())) > 4 * len(set(empty.get_flattened_data()))
    server.clear_faults()
    lab.wait_for_text(1, re.compile("12 of 12 images"))
    full = lab.source(1)
    lab.save()
    lab.reload()
    assert lab.source(1) == full
