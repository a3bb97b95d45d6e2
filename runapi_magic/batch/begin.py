"""Begin a batch in a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runapi_magic.batch.saved import saved_batches
from runapi_magic.core.status import Phase
from runapi_magic.core.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.batch.batch import Batch
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.pipeline import Gate
    from runapi_magic.engine.session import Session


def begin_batch(
    session: Session,
    batch: Batch,
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    gate: Gate | None = None,
    launch: Callable[..., object] | None = None,
) -> Batch:
    """Start a batch and return it at once.

    Args:
        session: The session that makes its images.
        batch: What is asked for.
        loop: The loop that works on it, by default the running one; another thread's is fine.
        gate: Awaited before anything is sent; what it raises is the batch's end.
        launch: Begins a retry on the loop of wherever the user is; by default on the same loop.

    Raises:
        InvalidRequestError: A request cannot be right; nothing was sent.
        MissingKeyError: There is no key.
        ConfigurationError: The base URL is unusable.
    """
    for item in batch.items:
        validate(item.request)
    simulator = session.simulator
    service = simulator

    place = session.settings.image_location()  # wherever the working directory is meanwhile

    def start(request: ImageRequest, loop: asyncio.AbstractEventLoop, **options: Any) -> Generation:
        return session.start(request, loop, service=service, image_dir=place, **options)

    if not session.connection.asks_colab:
        session.service().access.require_key()
    batch.simulated = simulator is not None

    async def before(batch: Batch) -> None:
        nonlocal service
        session.active_batches.add(batch)
        # Once for all requests. The key may be another one when failed ones are asked for
        # again, but what was simulated never comes to be paid for.
        service = simulator or await session.connection.get_service()
        service.access.require_key()
        if gate is not None:
            try:
                batch.hold_for(Phase.PRICING)
                await gate(lambda: batch.hold_for(Phase.ASKING))
            finally:
                batch.hold_for(None)
        await session.services.record(saved_batches(session).save, batch, service.access.base_url)
        requests = [item.request for item in batch.items]
        await session.pipeline.pricing.reserve(
            batch.reservation, requests, service, since=batch.since
        )

    async def after(batch: Batch) -> None:
        session.active_batches.discard(batch)
        await session.pipeline.pricing.release(batch.reservation)

    batch.held = None if gate is None else Phase.PRICING
    loop = loop or asyncio.get_running_loop()
    batch.begin(start, loop, before=before, after=after, launch=launch)
    return batch
