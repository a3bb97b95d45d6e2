"""Run a coroutine that uses a session, and close the session's connections."""

from __future__ import annotations

import asyncio


def run(session, work):
    """Run a coroutine on a new event loop, close the connections, and return its result."""

    async def main():
        try:
            return await work
        finally:
            await session.service().client.transport.close()

    return asyncio.run(main())
