"""Sessions with the simulator in the process, and images in a journal without a service."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path

from PIL import Image

from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.journal.task_log import Journal


def simulate(body, *, folder=None, **settings):
    """Run a coroutine function with a new session, like a kernel that was just started.

    Args:
        body: Gets the session.
        folder: The folder of the journal, by default the data folder.
        settings: The settings of the session.
    """

    async def main():
        journal = None if folder is None else Journal(folder)
        session = Session(Settings(**settings), journal)
        session.connection.simulator_on(speed=2000)
        service = session.service()
        try:
            return await asyncio.wait_for(body(session), 60)
        finally:
            await service.client.transport.close()
            session.journal.close()

    return asyncio.run(main())


def write_image(path, colour="orange"):
    """Write a small image, and return the digest of its file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    Path(path).write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def record_image(journal, prompt, parent=None, *, number=0, path=None, digest=None, **more):
    """Record a finished image in a journal without a service, and return it."""
    sources = ()
    if parent is not None:
        sources = (Source(parent.request.title, parent.digest, path=parent.path, image=parent),)
    request = ImageRequest(prompt, more.pop("model", "gpt-image-2"), {}, sources=sources)
    reserved = journal.allocate(
        "g1", request, "https://runapi.ai", split=lambda count: (1,) * count,
        new_id=lambda: f"part-{number:04}", usable=lambda *_: True, since=None,
    )  # fmt: skip
    (task,) = reserved.planned
    image = GeneratedImage(
        id=f"{task.id}-0", path=path or Path(f"/pictures/{number}.png"), request=request,
        width=8, height=6, task_id=f"tsk_{number}",
        digest=digest or hashlib.sha256(str(number).encode()).hexdigest(),
        **({"created": 1000.0 + number} | more),
    )  # fmt: skip
    journal.mark_completed(task.id, 0.06, 12.5)
    journal.mark_saved(task.id, [image])
    return image
