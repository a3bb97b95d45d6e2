"""Kernels and notebooks for the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace

import nbformat
import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel


def pytest_collection_modifyitems(items):
    """Mark everything here: it starts real kernels."""
    for item in items:
        if "tests/kernel/" in item.path.as_posix():
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A kernel with the magics and a simulator server that it works with; a key is set.

    A module's tests share it. They keep apart by their prompts.
    """
    folder = tmp_path_factory.mktemp("place")
    with serve_simulator("--speed", "45", "--balance-cents", "100000") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            yield SimpleNamespace(kernel=kernel, server=server, folder=folder)


@pytest.fixture
def kernel(place):
    """The module's kernel."""
    return place.kernel


@pytest.fixture
def server(place):
    """The module's simulator, with no fault left over from another test."""
    place.server.clear_faults()
    return place.server


def make_notebook(*cells):
    """Return a notebook of code cells."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.v4.new_notebook(cells=made, metadata=metadata)
