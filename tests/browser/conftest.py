"""A browser, a JupyterLab and a simulator for the tests of this folder."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from tests.browser.lab import (
    Lab,
    find_browser,
    make_notebook,
    open_browser,
    serve_lab,
    write_notebook,
)
from tests.conftest import KEY, clean_environment, serve_simulator

VIEWPORT = {"width": 1280, "height": 1200}  # pixels
_TEXT, _LOG = 400, 1500  # characters, of what a failed test says

expect.set_options(timeout=60_000)  # milliseconds


def pytest_collection_modifyitems(items):
    """Mark everything here: it drives a real browser."""
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let a failed test say what stood in the notebook: it may fail on a machine out of sight."""
    report = yield
    page = item.funcargs.get("page")
    if report.failed and page:
        cells = page.locator(Lab.cells).all_inner_texts()
        report.sections.append(("The notebook's cells", "\n--\n".join(map(_shorten, cells))))
        report.sections.append(("The page's errors", "\n".join(page.errors)))
        log = (item.funcargs["place"].folder.parent / "lab.log").read_text()
        report.sections.append(("The end of JupyterLab's log", log[-_LOG:]))
    return report


def _shorten(text: str) -> str:
    return text if len(text) <= 2 * _TEXT else f"{text[:_TEXT]}\n…\n{text[-_TEXT:]}"


@pytest.fixture(scope="module")
def browser():
    """A browser without a window; where there is none the tests are skipped, except in CI."""
    found = find_browser()
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium on this machine")
    assert found, "there is no Chromium on this machine"
    with open_browser(found) as opened:
        yield opened


@pytest.fixture(scope="module")
def place(tmp_path_factory, browser):
    """A JupyterLab whose kernels work with a simulator server."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    with serve_simulator("--speed", "20", "--balance-cents", "100000") as server:
        access = {"RUNAPI_BASE_URL": server.url, "RUNAPI_API_KEY": KEY}
        with serve_lab(folder, clean_environment(folder.parent, **access)) as url:
            yield SimpleNamespace(folder=folder, url=url, server=server)


@pytest.fixture
def server(place):
    """The module's simulator, with no fault left over from another test."""
    place.server.clear_faults()
    return place.server


@pytest.fixture
def release(place):
    """A function that lets a running cell ``HOLD`` end."""
    file = place.folder / "released"
    file.unlink(missing_ok=True)
    return file.touch


@pytest.fixture(scope="module")
def page(browser):
    """The module's page: loading JupyterLab takes longer than most tests."""
    page = browser.new_page(viewport=VIEWPORT)
    page.errors = []
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


@pytest.fixture
def open_lab(place, page, request):
    """A function that opens a notebook, or a new one of these cells, in JupyterLab."""
    opened = []

    def open_(*cells, notebook=None):
        name = f"{request.node.name}.ipynb"
        write_notebook(place.folder / name, notebook or make_notebook(*cells))
        opened.append(Lab(page, place.url, name))
        return opened[-1]

    yield open_
    for lab in opened:
        lab.shut_down()
