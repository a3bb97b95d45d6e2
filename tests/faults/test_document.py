"""The page about faults is the matrix."""

from __future__ import annotations

from tests.faults.document import PAGE, page


def test_page_is_up_to_date():
    """docs/faults.md says what the matrix says: ``python -m tests.faults.document`` writes it."""
    assert PAGE.read_text("utf-8") == page()
