"""The code of the README and of each guide runs as it is written."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, serve_simulator
from tests.docs.pages import BLOCKS, GUIDES, Reader

# The prompts of a page that go to a simulator server: those of the Dask cluster, which needs a key.
# All other prompts go to the simulator in the kernel, which needs no key.
PROMPTS = {"docs/sweeps-and-batches.md": {"A red bird", "A blue bird"}}
# Texts that the output of each page contains.
OUTPUTS = {
    "README.md": [
        "A red fox beside a mountain lake at sunrise",
        "((1024, 576), 0.06)",
        "compared at 768 x 432 px",
        "6 of 6 images",
        "[contact sheet] cards",
        "The panel needs a notebook with a person in front of it",
        "(2048, 2048)",
        "3 images: $0.48 (quoted). Nothing was sent.",
        "Budget of the day  $5.00",
        "Nothing is unfinished.",
    ],
    "docs/cells.md": ["(1536, 2048)", "a teal sailing boat"],
    "docs/configuration.md": [],
    "docs/costs.md": [
        "3 images: $0.48 (quoted). Nothing was sent.",
        "Budget of the day  $5.00",
    ],
    "docs/editing.md": [
        "├─ v2  Make it night, with a full moon · gpt-image-2",
        "compared at 576 x 768 px",
        "((2048, 2048), 'RGBA')",
        "(['Add a blue hat'], (1536, 2048))",
        "%%gpt_edit gpt-images/a-ginger-cat-",
    ],
    "docs/panel.md": ["The panel needs a notebook with a person in front of it"],
    "docs/recovery.md": ["(0, 0.12)", "A red fox · gpt-images/a-red-fox-"],
    "docs/sweeps-and-batches.md": [
        "6 of 6 images",
        "('completed', 6, {'animal': ['fox', 'cat'], 'time': ['dawn', 'noon', 'night']})",
        "1 completed 0.06",
        "[contact sheet] A red fox",
    ],
}


@pytest.fixture
def server():
    """Start a simulator server with both route families, 60 times as fast as the service."""
    with serve_simulator("--speed", "60") as running:
        yield running


@pytest.mark.kernel
@pytest.mark.parametrize("page", GUIDES)
def test_page_runs(page, tmp_path, server):
    """All blocks of a page run in one kernel and show the expected texts; few need a key."""
    key = {"RUNAPI_API_KEY": KEY} if page in PROMPTS else {}
    run = Reader(tmp_path, server, **key).read([block for block in BLOCKS if block.page == page])
    text = "\n".join(run.texts)
    assert [words for words in OUTPUTS[page] if words not in text] == []
    assert {body["prompt"] for body in server.bodies("")} == PROMPTS.get(page, set())
