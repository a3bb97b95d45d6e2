"""Send a request and stop it at a given point: ``python -m tests.recovery.stopped URL POINT STOP``.

POINT is a state of a task in the journal. STOP is ``cancel`` (the request is cancelled), ``loop``
(``asyncio.run`` ends) or ``kill`` (SIGKILL). Unless it is killed, the process prints what the error
says about the charge.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from runapi_magic.core.status import Phase, Stage
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from tests.conftest import KEY

if TYPE_CHECKING:
    from runapi_magic.engine.generation import Generation, GenerationTask

# What the simulator does so that a request stays at each point, until it is stopped.
FAULTS = {
    "planned": "put=slow,seconds=60",
    "sent": "create=slow,seconds=1",
    "running": "status=stuck",
    "completed": "download=slow,seconds=60",
}
_PHASES = {
    "planned": Phase.UPLOADING,
    "sent": Phase.SENDING,
    "running": Phase.DRAWING,
    "completed": Phase.FETCHING,
}


def start(session: Session, point: str) -> Generation:
    """Start a request; it uploads a source image if it is to be stopped before it is sent."""
    if point != "planned":
        return session.generate("a fox")
    Image.radial_gradient("L").save("source.png")
    return session.edit("source.png", "invert")


def is_at(point: str, task: GenerationTask) -> bool:
    """Return whether a task is at a point, with the bytes of its POST or its image on the way."""
    if task.phase is not _PHASES[point]:
        return False
    if point == "sent":
        return task.state.stage is Stage.SENT
    return point != "completed" or any(Path().rglob(".*.part"))


def main(url: str, point: str, stop: str) -> None:
    """Start a request, and stop it."""
    session = Session(Settings(base_url=url, api_key=KEY))

    async def run() -> Generation:
        generation = start(session, point)
        while not is_at(point, generation.tasks[0]):  # noqa: ASYNC110 (also a file)
            await asyncio.sleep(0.01)
        if stop == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if stop == "cancel":
            generation.cancel()
            await generation.ended()
        return generation

    (error,) = asyncio.run(run()).errors
    print(error.charged)  # noqa: T201 (for the test)


if __name__ == "__main__":
    main(*sys.argv[1:])
