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
from tests.conftest import KEY, apart, serve_simulator

VIEWPORT = {"width": 1280, "height": 1200}  # pixels

expect.set_options(timeout=60_000)  # milliseconds


def pytest_collection_modifyitems(items):
    """Mark everything here: it drives a real browser."""
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


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
        with serve_lab(folder, apart(folder.parent, **access)) as url:
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
