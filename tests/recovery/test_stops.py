"""A request that is stopped at any point ends as docs/architecture.md says. It is charged once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED, MAYBE_CHARGED, NOT_CHARGED, STILL_RUNNING
from tests.conftest import KEY, ROOT
from tests.recovery.run import run
from tests.recovery.stopped import FAULTS

PRICE = 6  # cents of one gpt-image-2 image at 1k
STOPS = ("cancel", "loop", "kill")
CHARGE_TEXTS = {
    "refused": NOT_CHARGED,
    "sent": MAYBE_CHARGED,
    "running": STILL_RUNNING,
    "completed": CHARGED,
}


def documented():
    """Return the page's table: the state in the journal after each stop at each point."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.split("| the task | cancelled |")[1].split("\n\n")[0]
    rows = [re.findall(r"\| `(\w+)` (?=\|)", row) for row in table.splitlines()[2:]]
    return dict(zip(FAULTS, rows, strict=True))


TABLE = documented()


@pytest.mark.posix
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("point", FAULTS)
def test_a_stopped_request(point, stop, home, simulator_server):
    """The journal, the error and a resume agree with the page. The image is charged once."""
    server = simulator_server
    server.fault(FAULTS[point])
    expected = TABLE[point][STOPS.index(stop)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.recovery.stopped", server.url, point, stop],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == ("" if stop == "kill" else CHARGE_TEXTS[expected]), done.stderr

    session = Session(Settings(base_url=server.url, api_key=KEY))
    with session.journal.reading() as connection:
        (state,) = connection.execute("SELECT state FROM tasks").fetchone()
    assert state == expected

    server.clear_faults()
    resumed = run(session, resume(session))
    made = int(expected != "refused")
    assert len(resumed.images) == made
    after = server.state()
    assert (after["tasks_created"], after["charged_cents"]) == (made, made * PRICE)
    assert list(Path().rglob(".*.part")) == []


async def resume(session):
    """Resume all unfinished tasks, and wait for them."""
    return await resume_tasks(session)
