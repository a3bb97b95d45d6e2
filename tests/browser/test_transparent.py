"""Images with a transparent background: the preset, its price, and the checkerboard."""

from __future__ import annotations

import base64
import io

import nbformat
import pytest
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import expect

from runapi_magic.display.theme import CHECKERBOARD
from tests.browser.lab import LOAD, choose

THEMES = ("JupyterLab Light", "JupyterLab Dark")
_BACKGROUND = "image => getComputedStyle(image).backgroundImage"


def _is_checkered(image):
    return "conic-gradient" in image.evaluate(_BACKGROUND)


@pytest.mark.versions
def test_remove_the_background(open_lab, workspace, server):
    """The preset shows Recraft's price. Its result has a checkerboard, and the source has none."""
    lab = open_lab(LOAD, "%gpt_image an owl to cut out")
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    first = lab.source(1)
    assert not _is_checkered(lab.images(1).first)
    choose(lab.cell(1).get_by_role("combobox", name="Presets"), "Remove the background")
    lab.click(1, "Remove the background ($0.01)")
    lab.wait_for_text(1, "recraft-remove-background")
    expect(lab.images(1).first).not_to_have_attribute("src", first)
    assert lab.source(1).startswith("data:image/png")
    for theme in THEMES:
        lab.choose_theme(theme)
        assert _is_checkered(lab.images(1).first)
    lab.save()
    (image,) = [
        output.data
        for output in nbformat.read(workspace.folder / "test_remove_the_background.ipynb", 4)
        .cells[1]
        .outputs
        if "image/png" in output.get("data", {})
    ]
    assert sorted(image) == ["image/png", "text/plain"]
    lab.click(1, "Previous version")
    expect(lab.images(1).first).to_have_attribute("src", first)
    assert not _is_checkered(lab.images(1).first)


def test_exported_html(browser, tmp_path):
    """In nbconvert's HTML without JavaScript, only the transparent image has a checkerboard."""
    outputs = []
    for mode, style in (("RGB", ""), ("RGBA", CHECKERBOARD)):
        file = io.BytesIO()
        Image.new(mode, (40, 40)).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        outputs += [
            nbformat.v4.new_output("display_data", {"image/png": data, "text/plain": "a picture"}),
            nbformat.v4.new_output("display_data", {"text/html": f"<div>words</div>{style}"}),
        ]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    html, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    path = tmp_path / "saved.html"
    path.write_text(html)
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    images = page.locator(".jp-RenderedImage img")
    images.last.wait_for()
    assert [_is_checkered(image) for image in images.all()] == [False, True]
