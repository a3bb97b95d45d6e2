"""The display of a generation that is shown on another thread than the loop of the kernel."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest
from runapi_magic.core.status import Phase
from runapi_magic.display import generation_view
from runapi_magic.display.environment import Audience
from runapi_magic.engine.generation import Generation, GenerationTask


def test_progress_on_another_thread(monkeypatch):
    """The progress is updated although the loop has nothing else to do."""
    updated = threading.Event()

    class Handle:
        def display(self, *_values, **_options):
            pass

        def update(self, *_values, **_options):
            updated.set()

    monkeypatch.setattr(generation_view, "DisplayHandle", Handle)
    monkeypatch.setattr(generation_view, "_TICK", 0.01)
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(generation_view, "running_loop", lambda: loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    request = ImageRequest("a fox", "gpt-image-2")
    task = GenerationTask("one", request, 1, expect(None))
    session = SimpleNamespace(settings=SimpleNamespace(preview_size=100), take_notices=list)
    try:
        generation_view.GenerationView(Generation(request, [task]), session, Audience.LIVE)
        task.phase = Phase.DRAWING
        assert updated.wait(10)
    finally:
        task.status = "failed"
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
