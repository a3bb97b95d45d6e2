"""The README is short, and with the overview in docs/ it names all commands and functions."""

from __future__ import annotations

import re

import runapi_magic
from runapi_magic.notebook.commands import COMMANDS
from tests.conftest import ROOT, serve_simulator
from tests.docs.pages import BLOCKS

README = (ROOT / "README.md").read_text("utf-8")
OVERVIEW = (ROOT / "docs" / "README.md").read_text("utf-8").split("## Overview")[1]
MOST_WORDS = 1500
# What tests, or CI itself, run in another way than a page's other commands.
INSTALL = "pip install ."
SERVER = "python -m runapi_magic.simulator --port 0 --speed 20"


def commands(page):
    """Return the lines of a page's commands."""
    found = [block.code for block in BLOCKS if (block.page, block.language) == (page, "bash")]
    return "".join(found).splitlines()


def test_the_readme_is_short():
    """The README takes few minutes to read; the pages in docs/ have the rest."""
    assert len(README.split()) < MOST_WORDS


def test_the_first_cells_start_the_simulator():
    """Who types the README's first two cells needs no key: the first one starts the simulator."""
    cells = [
        block.code for block in BLOCKS if (block.page, block.language) == ("README.md", "python")
    ]
    assert cells[0].startswith("%load_ext runapi_magic\n%runapi simulator on")
    assert cells[1].startswith("%%gpt_image")


def test_commands_are_the_known_ones():
    """Every command line of the README is one that a test, or CI itself, runs."""
    assert commands("README.md") == [INSTALL, "make demo", "make lab", "make test"]


def test_the_simulator_is_a_server():
    """The command for the server, as written, answers with its address."""
    assert commands("docs/cells.md") == [SERVER]
    with serve_simulator("--speed", "20") as server:
        assert server.state()["tasks_created"] == 0


def test_every_page_is_listed():
    """The README or the list of pages in docs/ leads to each page."""
    listed = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in listed} == set()


def test_commands_are_documented():
    """The overview's table has every command of %runapi."""
    documented = re.findall(r"`%runapi ([a-z]+)", OVERVIEW)
    assert set(documented) == set(COMMANDS)


def test_public_names_are_documented():
    """The overview names everything that the package exports for users."""
    hooks = {"load_ipython_extension", "unload_ipython_extension"}
    missing = [name for name in runapi_magic.__all__ if f"`{name}" not in OVERVIEW]
    assert set(missing) == hooks
