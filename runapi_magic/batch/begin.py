"""Start a batch in a session: check its requests, ask for confirmation, and reserve its price."""

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
        session: The session that makes the images.
        batch: The batch.
        loop: The event loop, by default the running one; it may run on another thread.
        gate: Awaited before anything is sent; an exception ends the batch.
        launch: Calls a function with the right event loop for a retry; by default the same loop.

    Raises:
        InvalidRequestError: A request is not valid; nothing was sent.
        MissingKeyError: There is no API key.
        ConfigurationError: The base URL is not valid.
    """
    for item in batch.items:
        validate(item.request)
    simulator = session.simulator
    service = simulator

    image_dir = session.settings.image_location()  # now: the working directory may change later
    loop = loop or asyncio.get_running_loop()

    def start(request: ImageRequest, loop: asyncio.AbstractEventLoop, **options: Any) -> Generation:
        return session.start(request, loop, service=service, image_dir=image_dir, **options)

    session.connection.require_key()
    batch.simulated = simulator is not None

    async def before(batch: Batch) -> None:
        nonlocal service
        # Once for all requests. A retry may use another key, but a simulated batch stays on the
        # simulator, so it is never charged.
        service = simulator or await session.connection.get_service()
        service.access.require_key()
        if gate is not None:
            try:
                batch.set_approval_phase(Phase.PRICING)
                await gate(lambda: batch.set_approval_phase(Phase.ASKING))
            finally:
                batch.set_approval_phase(None)
        await session.services.record(saved_batches(session).save, batch, service.access.base_url)
        requests = [item.request for item in batch.items]
        await session.pipeline.pricing.reserve(
            batch.reservation, requests, service, since=batch.since
        )

    async def after(batch: Batch) -> None:
        await session.pipeline.pricing.release(batch.reservation)

    def begin_again(begin: Callable[[asyncio.AbstractEventLoop], Batch]) -> object:
        session.active_batches.add(batch)
        return begin(loop) if launch is None else launch(begin)

    # At once, so that `session.cancel` finds the batch before its loop has begun to run it.
    session.active_batches.add(batch)
    batch.subscribe(lambda: session.active_batches.discard(batch) if batch.is_done else None)
    batch.approval_phase = None if gate is None else Phase.PRICING
    batch.begin(start, loop, before=before, after=after, launch=begin_again)
    return batch
