"""docs/faults.md matches the fault matrix."""

from __future__ import annotations

from tests.faults.document import PAGE, page


def test_page_is_up_to_date():
    """The page is current. ``python -m tests.faults.document`` writes it."""
    assert PAGE.read_text("utf-8") == page()
