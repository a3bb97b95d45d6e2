"""The README is short. The overview in docs/README.md names all commands and functions."""

from __future__ import annotations

import re

import runapi_magic
from runapi_magic.notebook.commands import COMMANDS
from tests.conftest import ROOT, serve_simulator
from tests.docs.pages import BLOCKS

README = (ROOT / "README.md").read_text("utf-8")
OVERVIEW = (ROOT / "docs" / "README.md").read_text("utf-8").split("## Overview")[1]
MOST_WORDS = 1500
# Commands that other tests or CI run.
INSTALL = "pip install ."
SERVER = "python -m runapi_magic.simulator --port 0 --speed 20"


def commands(page):
    """Return the command lines of a page."""
    found = [block.code for block in BLOCKS if (block.page, block.language) == (page, "bash")]
    return "".join(found).splitlines()


def test_the_readme_is_short():
    """The README has fewer words than the maximum."""
    assert len(README.split()) < MOST_WORDS


def test_the_first_cells_start_the_simulator():
    """The first cell of the README starts the simulator, so the second one needs no key."""
    cells = [
        block.code for block in BLOCKS if (block.page, block.language) == ("README.md", "python")
    ]
    assert cells[0].startswith("%load_ext runapi_magic\n%runapi simulator on")
    assert cells[1].startswith("%%gpt_image")


def test_commands_of_the_readme_are_tested():
    """Another test or CI runs each command line of the README."""
    assert commands("README.md") == [INSTALL, "make demo", "make lab", "make test"]


def test_command_for_the_simulator_server():
    """The command for the simulator server, as written, starts a server."""
    assert commands("docs/cells.md") == [SERVER]
    with serve_simulator("--speed", "20") as server:
        assert server.state()["tasks_created"] == 0


def test_every_page_is_listed():
    """The list in docs/README.md has a link to each page."""
    listed = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in listed} == set()


def test_commands_are_documented():
    """The table of the overview has each command of %runapi."""
    documented = re.findall(r"`%runapi ([a-z]+)", OVERVIEW)
    assert set(documented) == set(COMMANDS)


def test_public_names_are_documented():
    """The overview names each public function and class of the package."""
    hooks = {"load_ipython_extension", "unload_ipython_extension"}
    missing = [name for name in runapi_magic.__all__ if f"`{name}" not in OVERVIEW]
    assert set(missing) == hooks
