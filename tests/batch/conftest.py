"""Helpers for the tests of batches."""

from __future__ import annotations

import pytest

from runapi_magic.notebook.api import generate_many

PROMPTS = [f"boat {number}" for number in range(6)]


def sent_prompts(service):
    """Return the prompts that a server has received, sorted."""
    return sorted(task["body"]["prompt"] for task in service.tasks)


@pytest.fixture
def many(run, service):
    """Run a batch to its end, also if it fails, and return it."""

    def make(prompts, server=service, **options):
        async def body(_session):
            batch = generate_many(prompts, progress=False, **options)
            await batch.ended()
            return batch

        return run(server, body)

    return make
