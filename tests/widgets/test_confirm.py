"""A question that is taken away, at any moment, answers no: nothing waits for it for ever."""

from __future__ import annotations

import asyncio

import ipywidgets as widgets
import pytest

from runapi_magic.core.status import Phase
from runapi_magic.widgets.confirm import Confirm
from runapi_magic.widgets.panel import Panel
from runapi_magic.widgets.placed import remove_all
from tests.sessions import simulate

_PATIENCE = 5.0


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("in_panel", [True, False])
def test_a_question_that_is_taken_away_answers_no(is_early, in_panel):
    """``%runapi freeze`` before, or while, it is asked is a no, in a cell and in the panel."""

    async def main():
        box = widgets.VBox() if in_panel else None
        confirm = Confirm(box)

        def take_away():
            if box is None:
                remove_all()
            else:
                box.children = ()

        if is_early:
            take_away()
        asking = asyncio.ensure_future(confirm.ask("2 images: $0.12"))
        await asyncio.sleep(0)
        take_away()
        return await asyncio.wait_for(asking, _PATIENCE)

    assert asyncio.run(main()) is False


def _is_asked(session):
    tasks = [task for one in session._active.values() for task in one.tasks]
    return any(task.phase is Phase.ASKING for task in tasks)


def test_the_panel_takes_its_questions_along():
    """A request that waits for a click in the panel ends, unsent, when the panel is frozen."""

    async def body(session):
        panel = Panel(session)
        panel.show()
        panel.prompt.value, panel.count.value = "a cat", 3
        panel.go.click()
        async with asyncio.timeout(_PATIENCE):
            while not _is_asked(session):  # noqa: ASYNC110 (widgets tell nobody)
                await asyncio.sleep(0.001)
            (generation,) = session._active.values()
            remove_all()
            await generation.ended()
        return [error.what for error in generation.errors], session.journal.unfinished()

    (said, *_), left = simulate(body, ask_above_count=2)
    assert said.endswith("declined.")
    assert left == []
