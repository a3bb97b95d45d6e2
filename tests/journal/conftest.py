"""Journals of one data folder."""

from __future__ import annotations

import pytest

from runapi_magic.journal.task_log import Journal


@pytest.fixture
def open_journal(tmp_path):
    """Return a function that opens the journal of one data folder as another kernel would."""
    opened = []

    def make():
        opened.append(Journal(tmp_path / "data"))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal):
    """Return the journal of one kernel."""
    return open_journal()
