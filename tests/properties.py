"""Settings for property tests: the same examples in every run, no time limit, no database."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

PROPERTY = settings(deadline=None, database=None, derandomize=True, max_examples=150)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)
