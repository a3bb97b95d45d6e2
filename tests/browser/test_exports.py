"""A notebook with twelve images from an unattended run: its size, and its exported formats."""

from __future__ import annotations

import re
import subprocess

import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter

from tests.browser.lab import CHROMIUM_FLAGS, find_browser, make_notebook
from tests.conftest import clean_environment
from tests.kernel.kernels import execute

COUNT = 12
FORMATS = ("-a 1:1", "-a 3:2", "-a 3:4 -r 2k", "-a 16:9")
SUBJECTS = ("a fox by a lake", "a cat on a sill", "a city at night")
IMAGE_CELLS = [f"%gpt_image {options} {subject}" for options in FORMATS for subject in SUBJECTS]
# No host name is found, so that the result does not depend on the network.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"


@pytest.fixture(scope="module")
def executed(tmp_path_factory, browser):
    """Run the notebook with nbclient, save it, and return its path."""
    folder = tmp_path_factory.mktemp("twelve")
    notebook = make_notebook(
        "%load_ext runapi_magic\n%runapi simulator on --speed 45", *IMAGE_CELLS
    )
    execute(notebook, folder, clean_environment(folder))
    path = folder / "twelve.ipynb"
    nbformat.write(notebook, path)
    return path


def test_saved_size(executed):
    """The notebook with its twelve images is valid and under 2 MB, without widgets."""
    notebook = nbformat.read(executed, 4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == COUNT
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    assert "widgets" not in notebook.metadata
    assert executed.stat().st_size < 2_000_000


def test_html_without_scripts(executed, browser):
    """The HTML shows twelve images with captions in a browser without JavaScript."""
    exported, _ = HTMLExporter().from_filename(executed)
    path = executed.with_suffix(".html")
    path.write_text(exported)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    images = page.locator(".jp-RenderedImage img")
    images.last.wait_for()
    assert images.count() == COUNT
    assert all(one.evaluate("image => image.naturalWidth") > 0 for one in images.all())
    captions = page.locator(".jp-RenderedHTML", has_text=re.compile("not charged.*gpt-images/"))
    assert captions.count() == COUNT
    assert all(caption.is_visible() for caption in captions.all())
    context.close()


def test_markdown(executed):
    """The Markdown has twelve images as files beside it, each with its caption."""
    text, resources = MarkdownExporter().from_filename(executed)
    names = re.findall(r"^!\[jpeg\]\((.*\.jpg)\)$", text, re.MULTILINE)
    assert len(names) == COUNT
    assert all(resources["outputs"][name].startswith(b"\xff\xd8") for name in names)
    assert len(re.findall("<code>gpt-images/", text)) == COUNT


def test_pdf(executed):
    """Chromium prints nbconvert's webpdf HTML to a PDF with twelve images."""
    exported, _ = HTMLExporter(template_name="webpdf").from_filename(executed)
    page, pdf = executed.with_name("printed.html"), executed.with_name("printed.pdf")
    page.write_text(exported)
    command = [find_browser(), "--headless", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    profile = f"--user-data-dir={executed.parent / 'profile'}"
    subprocess.run(
        [*command, *CHROMIUM_FLAGS, OFFLINE, profile, page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/DCTDecode") == COUNT
