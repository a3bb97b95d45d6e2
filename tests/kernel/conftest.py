"""Fixtures for tests that run cells in a real kernel."""

from __future__ import annotations

from types import SimpleNamespace

import nbformat
import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel


def pytest_collection_modifyitems(items):
    """Mark every test of this folder as one that starts a kernel."""
    for item in items:
        if "tests/kernel/" in item.path.as_posix():
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Start a kernel with the magics, a key and a simulator server.

    All tests of a module share it. Each test uses prompts of its own.
    """
    folder = tmp_path_factory.mktemp("workspace")
    with serve_simulator("--speed", "45", "--balance-cents", "100000") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            yield SimpleNamespace(kernel=kernel, server=server, folder=folder)


@pytest.fixture
def kernel(workspace):
    """Return the module's kernel."""
    return workspace.kernel


@pytest.fixture
def server(workspace):
    """Return the module's simulator server without the faults of other tests."""
    workspace.server.clear_faults()
    return workspace.server


def task_requests(server):
    """Return the requests that create a task."""
    requests = server.state()["requests"]
    actions = ("text_to_image", "edit_image")
    return [r for r in requests if r["method"] == "POST" and r["path"].endswith(actions)]


def make_notebook(*cells):
    """Return a notebook of code cells."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.v4.new_notebook(cells=made, metadata=metadata)
