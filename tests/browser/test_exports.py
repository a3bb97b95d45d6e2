"""A notebook of twelve pictures, executed with nobody there: its size, and what it turns into."""

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
ALL = [f"%gpt_image {options} {subject}" for options in FORMATS for subject in SUBJECTS]
# No name is found: what a page asks of the network must not matter.
APART = "--host-resolver-rules=MAP * ~NOTFOUND"


@pytest.fixture(scope="module")
def executed(tmp_path_factory, browser):
    """The saved notebook."""
    folder = tmp_path_factory.mktemp("twelve")
    notebook = make_notebook("%load_ext runapi_magic\n%runapi simulator on --speed 45", *ALL)
    execute(notebook, folder, clean_environment(folder))
    path = folder / "twelve.ipynb"
    nbformat.write(notebook, path)
    return path


def test_saved_size(executed):
    """The notebook is valid, under 2 MB with its twelve pictures, and no widget is in it."""
    notebook = nbformat.read(executed, 4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == COUNT
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    assert "widgets" not in notebook.metadata
    assert executed.stat().st_size < 2_000_000


def test_html_without_scripts(executed, browser):
    """As HTML it shows twelve pictures and twelve captions in a browser that runs no script."""
    exported, _ = HTMLExporter().from_filename(executed)
    path = executed.with_suffix(".html")
    path.write_text(exported)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    pictures = page.locator(".jp-RenderedImage img")
    pictures.last.wait_for()
    assert pictures.count() == COUNT
    assert all(one.evaluate("picture => picture.naturalWidth") > 0 for one in pictures.all())
    captions = page.locator(".jp-RenderedHTML", has_text=re.compile("not charged.*gpt-images/"))
    assert captions.count() == COUNT
    assert all(caption.is_visible() for caption in captions.all())
    context.close()


def test_markdown(executed):
    """As Markdown it has twelve pictures as files beside it, each with its caption."""
    text, resources = MarkdownExporter().from_filename(executed)
    names = re.findall(r"^!\[jpeg\]\((.*\.jpg)\)$", text, re.MULTILINE)
    assert len(names) == COUNT
    assert all(resources["outputs"][name].startswith(b"\xff\xd8") for name in names)
    assert len(re.findall("<code>gpt-images/", text)) == COUNT


def test_pdf(executed):
    """The HTML that nbconvert prints for webpdf, printed by Chromium: a PDF of twelve pictures."""
    exported, _ = HTMLExporter(template_name="webpdf").from_filename(executed)
    page, pdf = executed.with_name("printed.html"), executed.with_name("printed.pdf")
    page.write_text(exported)
    command = [find_browser(), "--headless", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    profile = f"--user-data-dir={executed.parent / 'profile'}"
    subprocess.run(
        [*command, *CHROMIUM_FLAGS, APART, profile, page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/DCTDecode") == COUNT
