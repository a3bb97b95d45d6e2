"""Run a list of prompts as a kernel would: ``python -m tests.faults.kernel_process URL``.

The tests start several of these at the same time on one data folder, as two open windows of a
notebook would.
"""

from __future__ import annotations

import asyncio
import sys

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from tests.conftest import KEY

PROMPTS = [f"prompt {number}" for number in range(10)]


async def _run(url):
    session = Session(Settings(base_url=url, api_key=KEY, timeout=60))
    print("ready", flush=True)  # noqa: T201 (the test reads it)
    await asyncio.to_thread(sys.stdin.readline)
    generations = [session.generate(prompt) for prompt in PROMPTS]
    for generation in generations:
        await generation
        print(generation.image.path.name, generation.image.digest)  # noqa: T201
    for notice in session.notices:
        print("notice", notice)  # noqa: T201
    await session.service().client.transport.close()
    session.journal.close()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1]))
