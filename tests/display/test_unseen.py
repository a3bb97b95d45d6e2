"""Unseen images: a page that confirms an image while it is marked in the journal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runapi_magic.display import unseen
from runapi_magic.journal.history import History
from runapi_magic.journal.task_log import Journal
from tests.sessions import record_image


@pytest.fixture
def journal(tmp_path):
    """Return an open journal."""
    opened = Journal(tmp_path / "data")
    yield opened
    opened.close()


@pytest.mark.parametrize(("is_seen", "unseen_prompts"), [(False, ["a boat"]), (True, [])])
def test_seen_while_it_is_marked(journal, is_seen, unseen_prompts):
    """An image is unseen unless the page confirms it, also during the write to the journal."""
    image = record_image(journal, "a boat")

    class Answered(History):
        def mark_unseen(self, images):
            if is_seen:
                output.drop()
            super().mark_unseen(images)

    work = SimpleNamespace(is_done=True, subscribe=lambda _listener: None)
    output = unseen._Output(work, lambda: [image], [], Answered(journal))
    unseen._outputs.append(output)
    output.mark()
    assert [stored.task.prompt for stored in History(journal).pop_unseen()] == unseen_prompts
    output.drop()
