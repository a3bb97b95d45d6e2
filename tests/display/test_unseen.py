"""Pictures that nobody saw: what a page says in the very moment in which they are written down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runapi_magic.display import unseen
from runapi_magic.journal.history import History
from runapi_magic.journal.task_log import Journal
from tests.sessions import record_image


@pytest.fixture
def journal(tmp_path):
    """A journal."""
    opened = Journal(tmp_path / "data")
    yield opened
    opened.close()


@pytest.mark.parametrize(("is_seen", "told"), [(False, ["a boat"]), (True, [])])
def test_seen_while_it_is_noted(journal, is_seen, told):
    """A picture is told of, unless the page confirms it, and be it while it is written down."""
    image = record_image(journal, "a boat")

    class Answered(History):
        def mark_unseen(self, images):
            if is_seen:
                awaited.drop()
            super().mark_unseen(images)

    work = SimpleNamespace(is_done=True, subscribe=lambda _listener: None)
    awaited = unseen._Awaited(work, lambda: [image], [], Answered(journal))
    unseen._awaited.append(awaited)
    awaited.note()
    assert [stored.task.prompt for stored in History(journal).pop_unseen()] == told
    awaited.drop()
