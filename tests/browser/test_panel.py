"""The panel in JupyterLab, with a history of a thousand images."""

from __future__ import annotations

import hashlib
import io
import re
import secrets

import pytest
from PIL import Image
from playwright.sync_api import expect

from runapi_magic.core.request import ImageRequest
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.journal.task_log import Journal
from tests.browser.lab import BLOCK_KERNEL, LOAD, STUCK

PAGE = 24  # images
_TASKS, _IMAGES_PER_TASK = 50, 20


@pytest.fixture(scope="module", autouse=True)
def history(workspace):
    """Save a thousand images in the journal, each with its file."""
    journal = Journal(workspace.folder.parent / "data")
    folder = workspace.folder / "old"
    folder.mkdir()
    for number in range(_TASKS):
        request = ImageRequest(f"old picture {number:02}", "gpt-image-2", count=_IMAGES_PER_TASK)
        (task,) = journal.allocate(
            secrets.token_hex(8), request, workspace.server.url,
            split=lambda count: (count,), new_id=lambda: secrets.token_hex(8),
            usable=lambda *_: False,
        ).planned  # fmt: skip
        journal.mark_saved(
            task.id, [_save_image(folder, request, task.id, at) for at in range(_IMAGES_PER_TASK)]
        )
    journal.close()


def _save_image(folder, request, task, position):
    content = io.BytesIO()
    Image.new("RGB", (32, 24), f"#{secrets.token_hex(3)}").save(content, "PNG")
    path = folder / f"{task}-{position}.png"
    path.write_bytes(content.getvalue())
    return GeneratedImage(
        id=f"{task}-{position}", path=path, request=request, width=32, height=24, task_id=task,
        digest=hashlib.sha256(content.getvalue()).hexdigest(), created=1.7e9 + position,
    )  # fmt: skip


@pytest.fixture
def open_panel(open_lab):
    """Return a function that opens a notebook with the panel in cell 1 and waits for it."""

    def open_(*cells):
        lab = open_lab(LOAD, "%gpt_panel", *cells)
        lab.run(0)
        lab.run(1)
        expect(_tiles(lab)).to_have_count(PAGE)
        expect(_panel(lab)).to_have_attribute("data-bridged", "")
        return lab

    return open_


def _panel(lab):
    return lab.cell(1).locator(".runapi-panel")


def _tiles(lab):
    return _panel(lab).get_by_role("group", name="History").get_by_role("button")


def _prompt(lab):
    return _panel(lab).get_by_role("textbox", name="Prompt")


def _menu(lab, name):
    return _panel(lab).get_by_role("combobox", name=name)


def _wait_for_text(lab, text):
    lab.wait_for_text(1, text, ".runapi-panel")


def _generate(lab, prompt):
    _prompt(lab).fill(prompt)
    lab.click(1, "Generate")


def test_request_and_its_price(open_panel, server):
    """The chosen ratio, resolution and count are sent, and the price beside the button follows."""
    lab = open_panel("%runapi simulator on --speed 20")
    _wait_for_text(lab, "$0.06 (quoted)")
    lab.click(1, "16:9")
    lab.click(1, "2k")
    _wait_for_text(lab, "$0.10 (quoted)")
    _panel(lab).get_by_role("spinbutton", name="Pictures").fill("2")
    lab.page.keyboard.press("Tab")
    _wait_for_text(lab, "$0.20 (quoted)")
    _generate(lab, "two ships by panel")
    lab.wait_for_images(1)
    lab.wait_for_text(1, "gpt-image-2 · 16:9 · 2k · 2048 x 1152 px")
    expected = {"aspect_ratio": "16:9", "output_resolution": "2k"}
    expected |= {"model": "gpt-image-2", "prompt": "two ships by panel"}
    assert server.bodies("two ships by panel") == [expected] * 2
    expect(_tiles(lab).nth(0)).to_have_accessible_name("two ships by panel")
    expect(_tiles(lab).nth(1)).to_have_accessible_name("two ships by panel")
    lab.run(2)
    lab.wait_until_done(2)
    lab.click(1, "1k")
    _wait_for_text(lab, "$0.12 (simulated)")


def test_generate_sends_the_latest_values_of_a_busy_kernel(open_panel, server, release):
    """Generate sends the form's latest values, even if the kernel is busy. Later typing stays."""
    lab = open_panel(BLOCK_KERNEL)
    lab.run(2)
    number = _panel(lab).get_by_role("spinbutton", name="Pictures")
    for text, model, count in (
        ("an older prompt", "Flux Kontext Max (flux-kontext-max)", "3"),
        ("a newer prompt", "Flux Kontext Pro (flux-kontext-pro)", "2"),
    ):
        _prompt(lab).fill(text)
        _menu(lab, "Model").select_option(model)
        number.fill(count)
        lab.page.keyboard.press("Tab")
    lab.click(1, "Generate")
    _prompt(lab).fill("a prompt to come")
    assert lab.input_prompt(2) == "[*]:"
    release()
    lab.wait_for_images(1)
    expect(_tiles(lab).nth(1)).to_have_accessible_name("a newer prompt")
    assert server.bodies("an older prompt") == []
    assert [body["model"] for body in server.bodies("a newer prompt")] == ["flux-kontext-pro"] * 2
    expect(_prompt(lab)).to_have_value("a prompt to come")


_VARIABLES = """import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
noise = np.linspace(0, 1, 40 * 60 * 3).reshape(40, 60, 3)
curve, axes = plt.subplots(figsize=(2, 2))"""


def test_sources_of_every_kind(open_panel, server, workspace):
    """A numpy array, a figure, an upload and a URL can be the sources of one request."""
    lab = open_panel(_VARIABLES)
    lab.run(2)
    lab.wait_until_done(2)
    _generate(lab, "a picture with an address")
    lab.wait_for_images(1)
    first = server.state()["tasks"][-1]["id"]
    menu = _menu(lab, "or pick")
    expect(menu.get_by_role("option", name="variable noise")).to_be_attached()
    menu.select_option("variable noise")
    expect(lab.button(1, "Leave out noise")).to_be_visible()
    expect(menu).to_have_value("recent pictures and variables")
    menu.select_option("variable curve")
    expect(lab.button(1, "Leave out curve")).to_be_visible()
    old = next(iter((workspace.folder / "old").iterdir()))
    with lab.page.expect_file_chooser() as chooser:
        _panel(lab).get_by_role("button", name=re.compile("Upload")).click()
    chooser.value.set_files(old)
    expect(lab.button(1, f"Leave out {old.name}"[:49])).to_be_visible()
    entry = _panel(lab).get_by_role("textbox", name="Source")
    entry.fill("nothing_of_this_name")
    lab.page.keyboard.press("Enter")
    _wait_for_text(lab, 'There is no variable or file "nothing_of_this_name".')
    entry.fill(f"{server.url}/files/{first}/0.png")
    lab.click(1, "Add")
    expect(_panel(lab).get_by_role("button", name=re.compile("^Leave out"))).to_have_count(4)
    _generate(lab, "put all into one picture")
    lab.wait_for_text(1, "gpt-images/put-all-into-one-picture")
    (body,) = server.bodies("put all into one picture")
    *uploaded, given = body["source_image_urls"]
    assert given == f"{server.url}/files/{first}/0.png"
    assert len(set(uploaded)) == 3
    assert all(url.startswith(server.url) for url in uploaded)
    lab.click(1, "Leave out noise")
    expect(lab.button(1, "Leave out noise")).not_to_be_visible()
    expect(_panel(lab).get_by_role("button", name=re.compile("^Leave out"))).to_have_count(3)


def test_fields_of_the_models(open_panel, server, workspace):
    """The panel shows a model's fields and says which are missing before it sends a request."""
    lab = open_panel()
    before = len(server.state()["tasks"])
    _menu(lab, "Model").select_option("GPT-4o Image (gpt-4o-image)")
    expect(lab.button(1, "16:9")).not_to_be_visible()
    _wait_for_text(lab, "gpt-4o-image needs")
    _generate(lab, "a boat without a ratio")
    expect(_panel(lab).get_by_role("alert")).to_contain_text("Nothing was sent")
    assert len(server.state()["tasks"]) == before
    lab.click(1, "3:2")
    _wait_for_text(lab, "$0.06 (quoted)")
    lab.click(1, "Generate")
    lab.wait_for_text(1, "gpt-4o-image · 3:2")
    expect(_panel(lab).get_by_role("alert")).not_to_be_visible()

    lab.click(1, "Use as source")
    (boat,) = (workspace.folder / "gpt-images").glob("a-boat-without-a-ratio*")
    with Image.open(boat) as image:
        mask = Image.new("RGBA", image.size)
    mask.paste("black", (0, 0, mask.width // 2, mask.height))
    mask.save(workspace.folder / "mask.png")
    with lab.page.expect_file_chooser() as chooser:
        _panel(lab).get_by_role("button", name=re.compile("Upload")).click()
    chooser.value.set_files(workspace.folder / "mask.png")
    lab.button(1, "Use as mask").nth(1).click()
    expect(lab.button(1, "is the mask")).to_be_visible()
    _generate(lab, "a boat with another sail")
    lab.wait_for_text(1, "gpt-images/a-boat-with-another-sail")
    (body,) = server.bodies("a boat with another sail")
    assert body["mask_url"] not in body["source_image_urls"]
    assert len(body["source_image_urls"]) == 1
    for name in ("a boat without a ratio", "mask.png"):
        lab.click(1, f"Leave out {name}")
        expect(lab.button(1, f"Leave out {name}")).not_to_be_visible()

    _menu(lab, "Model").select_option("Topaz upscale (topaz-upscale-image)")
    expect(_prompt(lab)).to_be_disabled()
    lab.click(1, "Generate")
    expect(_panel(lab).get_by_role("alert")).to_contain_text("needs a source image")
    lab.click(1, "Use as source")
    _wait_for_text(lab, "topaz-upscale-image needs upscale_factor.")
    factor = _menu(lab, "Upscale factor (required)")
    expect(factor).to_have_value("choose one")
    factor.select_option("4")
    _wait_for_text(lab, "$0.20 (quoted)")
    lab.click(1, "Generate")
    lab.wait_for_text(1, "topaz-upscale-image · ")
    last = server.state()["tasks"][-1]["body"]
    assert (last["upscale_factor"], "prompt" in last) == (4, False)


def test_several_requests_at_once(open_panel, server):
    """Requests run at once, each with its progress and Cancel. An error stays until Dismiss."""
    server.fault(STUCK + "in the queue")
    lab = open_panel()
    _generate(lab, "first in the queue")
    _wait_for_text(lab, "first in the queue · The service is drawing")
    _generate(lab, "second in the queue")
    _wait_for_text(lab, "second in the queue · The service is drawing")
    bars = _panel(lab).get_by_role("progressbar")
    expect(bars).to_have_count(2)
    lab.click(1, "Cancel")
    _wait_for_text(lab, "first in the queue: Stopped waiting")
    expect(bars).to_have_count(1)
    server.clear_faults()
    server.fault("status=failed,match=refused,message=<b>No</b> such thing")
    lab.wait_for_images(1)
    lab.wait_for_text(1, "gpt-images/second-in-the-queue")
    expect(bars).to_have_count(0)
    _generate(lab, "a refused picture")
    _wait_for_text(lab, "a refused picture: ")
    _wait_for_text(lab, "<b>No</b> such thing")
    lab.button(1, "Dismiss").nth(1).click()
    expect(lab.button(1, "Dismiss")).to_have_count(1)
    lab.click(1, "Dismiss")
    expect(lab.button(1, "Dismiss")).to_have_count(0)
    assert lab.images(1).count() == 1


def test_history_of_a_thousand_images(open_panel, server, workspace):
    """The history loads one page. You can search it, page through it, and reuse its images."""
    lab = open_panel()
    _wait_for_text(lab, re.compile(r"^1 to 24 of 1\d\d\d$"))
    assert _panel(lab).locator("img").count() == PAGE
    small = workspace.folder.parent / "data" / "thumbnails"
    assert sum(path.is_file() for path in small.rglob("*")) < 300
    lab.click(1, "Older pictures")
    _wait_for_text(lab, re.compile(r"^25 to 48 of 1\d\d\d$"))
    search = _panel(lab).get_by_role("textbox", name="Search")
    expect(search).to_have_attribute("placeholder", re.compile("then Enter$"))
    search.fill("OLD picture 49")
    lab.page.keyboard.press("Enter")
    _wait_for_text(lab, "1 to 20 of 20")
    expect(_tiles(lab)).to_have_count(20)
    expect(lab.button(1, "Newer pictures")).to_be_disabled()
    expect(lab.button(1, "Older pictures")).to_be_disabled()
    search.fill("no such words")
    lab.page.keyboard.press("Enter")
    _wait_for_text(lab, "No image has 'no such words' in its prompt or model.")
    search.fill("old picture 07")
    lab.page.keyboard.press("Enter")
    _wait_for_text(lab, "1 to 20 of 20")
    third = _tiles(lab).nth(2)
    third.focus()
    lab.page.keyboard.press("Enter")
    lab.wait_for_images(1)
    expect(third).to_have_attribute("aria-current", "true")
    expect(third).to_be_focused()
    lab.wait_for_text(1, "gpt-image-2 · 32 x 24 px")

    lab.click(1, "Reuse prompt")
    expect(_prompt(lab)).to_have_value("old picture 07")
    lab.click(1, "Use as source")
    expect(lab.button(1, "Leave out old picture 07")).to_be_visible()
    _generate(lab, "make the old one new")
    lab.wait_for_text(1, "gpt-images/make-the-old-one-new")
    assert len(server.bodies("make the old one new")[0]["source_image_urls"]) == 1
    lab.wait_for_text(1, "v1 > v2")
    lab.click(1, "Reuse prompt")
    expect(_panel(lab).get_by_role("button", name=re.compile("^Leave out"))).to_have_count(1)
    lab.click(1, "Edit")
    lab.cell(1).get_by_role("textbox", name="Edit").fill("make the new one blue")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "v1 > v2 > v3")
    lab.wait_for_text(1, "gpt-images/make-the-new-one-blue")
    shown = lab.source(1)
    lab.save()
    lab.reload()
    lab.wait_for_images(1)
    assert lab.source(1) == shown
    lab.wait_for_text(1, "gpt-images/make-the-new-one-blue")


def test_history_shows_images_of_other_cells(open_panel, server):
    """An image that arrives after its cell has returned appears in the history."""
    server.fault(STUCK + "made elsewhere")
    lab = open_panel("%gpt_image a ship made elsewhere")
    lab.run(2)
    lab.wait_for_text(2, "The service is drawing")
    expect(_tiles(lab)).to_have_count(PAGE)
    image = _panel(lab).get_by_role("button", name="a ship made elsewhere")
    expect(image).to_have_count(0)
    server.clear_faults()
    lab.wait_for_images(2)
    expect(image).to_be_visible()


def test_repeated_cell_has_one_open_panel(open_panel):
    """After the panel's cell runs again, only the visible panel updates its history."""
    lab = open_panel(
        "from runapi_magic.widgets.updates import _updates\n"
        "print('open panels:', [len(one._panels) for one in _updates.values()])"
    )
    for _ in range(2):
        lab.run(1)
        lab.wait_until_done(1)
        expect(_panel(lab)).to_have_count(1)
        expect(_panel(lab)).to_have_attribute("data-bridged", "")
    lab.run(2)
    lab.wait_for_text(2, "open panels: [1]")


def test_resume_of_unfinished_tasks(open_lab, server):
    """The panel offers unfinished tasks, and Resume gets their images."""
    server.fault(STUCK + "left unfinished")
    lab = open_lab(LOAD, "%gpt_panel", "%gpt_image a ship left unfinished", "%runapi cancel")
    lab.run(0)
    lab.run(2)
    lab.wait_for_text(2, "The service is drawing")
    lab.run(3)
    lab.wait_for_text(2, "Stopped waiting")
    lab.run(1)
    _wait_for_text(lab, re.compile("pictures? (is|are) unfinished"))
    server.clear_faults()
    lab.click(1, "Resume")
    lab.wait_for_images(1)
    expect(_panel(lab).get_by_role("button", name="a ship left unfinished")).to_be_visible()
    assert len(server.bodies("left unfinished")) == 1
    expect(lab.button(1, "Resume")).to_have_count(0)
