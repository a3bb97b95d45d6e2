"""Fixtures for tests that use a browser with JupyterLab and a simulator."""

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
_TEXT, _LOG = 400, 1500  # characters of a cell and of the log in the report of a failed test

expect.set_options(timeout=60_000)  # milliseconds


def pytest_collection_modifyitems(items):
    """Mark every test of this folder as one that uses a browser."""
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Add the notebook's texts to the report of a failed test, for failures on other machines."""
    report = yield
    page = item.funcargs.get("page")
    if report.failed and page:
        cells = page.locator(Lab.cells).all_inner_texts()
        report.sections.append(("The notebook's cells", "\n--\n".join(map(_shorten, cells))))
        report.sections.append(("The page's errors", "\n".join(page.errors)))
        log = (item.funcargs["workspace"].folder.parent / "lab.log").read_text()
        report.sections.append(("The end of JupyterLab's log", log[-_LOG:]))
    return report


def _shorten(text: str) -> str:
    return text if len(text) <= 2 * _TEXT else f"{text[:_TEXT]}\n…\n{text[-_TEXT:]}"


@pytest.fixture(scope="module")
def browser():
    """Start a headless browser. If there is none, skip the tests; in CI fail."""
    found = find_browser()
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium on this machine")
    assert found, "there is no Chromium on this machine"
    with open_browser(found) as opened:
        yield opened


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, browser):
    """Start JupyterLab with kernels that use a simulator server."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    with serve_simulator("--speed", "20", "--balance-cents", "100000") as server:
        access = {"RUNAPI_BASE_URL": server.url, "RUNAPI_API_KEY": KEY}
        with serve_lab(folder, clean_environment(folder.parent, **access)) as url:
            yield SimpleNamespace(folder=folder, url=url, server=server)


@pytest.fixture
def server(workspace):
    """Return the module's simulator server without the faults of other tests."""
    workspace.server.clear_faults()
    return workspace.server


@pytest.fixture
def release(workspace):
    """Return a function that ends a running ``BLOCK_KERNEL`` cell."""
    file = workspace.folder / "released"
    file.unlink(missing_ok=True)
    return file.touch


@pytest.fixture(scope="module")
def page(browser):
    """Open the module's page. Its tests share it, because JupyterLab loads slowly."""
    page = browser.new_page(viewport=VIEWPORT)
    page.errors = []
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


@pytest.fixture
def open_lab(workspace, page, request):
    """Return a function that opens a notebook, given or made of cells, in JupyterLab."""
    opened = []

    def open_(*cells, notebook=None):
        name = f"{request.node.name}.ipynb"
        write_notebook(workspace.folder / name, notebook or make_notebook(*cells))
        opened.append(Lab(page, workspace.url, name))
        return opened[-1]

    yield open_
    for lab in opened:
        lab.shut_down()
