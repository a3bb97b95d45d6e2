"""Panels query the history only while they are open, and only after a change."""

from __future__ import annotations

import secrets

import pytest

from runapi_magic.journal.task_log import Journal
from tests.conftest import clean_environment
from tests.kernel.kernels import start_kernel
from tests.sessions import record_image

COUNT_QUERIES = """
from runapi_magic.journal.history import History
from runapi_magic.engine.session import current_session
from runapi_magic.widgets import placed
queries = []

def count(name, of):
    def counted(self, *values, **options):
        queries.append(name)
        return of(self, *values, **options)
    setattr(History, name, counted)

count("images", History.images)
count("count", History.count)

def panels():
    return [p for p in placed._placed if "runapi-panel" in p._root.children[0]._dom_classes]

def listeners():
    called = get_ipython().events.callbacks["post_run_cell"]
    return sum("updates" in one.__module__ for one in called), len(current_session().on_ended)
"""
_QUERIES = 4  # of one panel: a page and its count, for the history and for the sources


@pytest.fixture
def kernel(tmp_path):
    """Start a kernel with the magics, without a key, that counts its queries."""
    with start_kernel(
        tmp_path, clean_environment(tmp_path), "%load_ext runapi_magic", COUNT_QUERIES
    ) as started:
        yield started


@pytest.fixture
def add_image(tmp_path):
    """Return a function that adds an image to the journal from another process."""
    journal = Journal(tmp_path / "data")
    yield lambda: record_image(journal, "an image from elsewhere", number=secrets.randbelow(10**6))
    journal.close()


def _wait_for(kernel, count):
    kernel.wait(lambda: kernel.value("len(queries)") >= count)
    assert kernel.value("len(queries)") == count


def test_open_panels_read_a_changed_history_once(kernel, add_image):
    """After a change each open panel queries the history once. Other cells cause no query."""
    for _ in range(3):
        kernel.run_ok("%gpt_panel")
    _wait_for(kernel, 3 * _QUERIES)
    assert kernel.value("listeners()") == (1, 1)
    for number in range(20):
        kernel.run_ok(f"{number}")
    add_image()
    kernel.run_ok("'a cell after the change'")
    _wait_for(kernel, 6 * _QUERIES)

    kernel.run_ok("panels()[0].remove()")
    kernel.run_ok("hidden = panels()[0]")
    for word in ("here", "gone"):
        kernel.run_ok(f"hidden._on_message(None, {{'says': '{word}'}}, [])")
    add_image()
    kernel.run_ok("'a cell after the second change'")
    _wait_for(kernel, 7 * _QUERIES)

    kernel.run_ok("hidden._on_message(None, {'says': 'here'}, [])")
    _wait_for(kernel, 8 * _QUERIES)
    assert kernel.value("listeners()") == (1, 1)
    kernel.run_ok("placed.remove_all()")
    assert kernel.value("listeners()") == (0, 0)
