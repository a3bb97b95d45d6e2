"""The README does what it says: every cell and every command in it runs."""

from __future__ import annotations

import re

import nbformat
import pytest

import runapi_magic
from runapi_magic.notebook.commands import COMMANDS
from tests.conftest import KEY, ROOT, serve_simulator
from tests.kernel.kernels import execute

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    """Return the code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMAND_LINES = [line for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture
def server():
    """A simulator server for both route families, 60 times as fast as life."""
    with serve_simulator("--speed", "60") as running:
        yield running


@pytest.mark.kernel
def test_every_cell_runs(home, server, monkeypatch):
    """All cells of the README, run in their order in one kernel, end without an error."""
    monkeypatch.setenv("RUNAPI_BASE_URL", server.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(block) for block in blocks("python")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute(notebook, home.parent / "work")
    assert {body["prompt"] for body in server.bodies("bird")} == {
        "A red bird",
        "A blue bird",
    }
    text = str([cell.outputs for cell in notebook.cells])
    assert "(1536, 2048)" in text
    assert "a teal sailing boat" in text
    assert "((2048, 2048), 'RGBA')" in text
    assert "├─ v2  Make it night, with a full moon · gpt-image-2" in text
    assert "compared at 576 x 768 px" in text
    assert "(['Add a blue hat'], (1536, 2048))" in text
    assert "%%gpt_edit gpt-images/a-ginger-cat-" in text
    assert "6 of 6 pictures" in text
    assert "('completed', 6, {'animal': ['fox', 'cat'], 'time': ['dawn', 'noon', 'night']})" in text
    assert "[contact sheet] A red fox" in text
    assert "3 pictures: $0.48 (quoted). Nothing was sent." in text
    assert "Budget of the day  $5.00" in text
    assert "(0, 0.12)" in text
    assert "The panel needs a notebook with somebody in front of it" in text


def test_commands_are_the_known_ones():
    """Every command line of the README is one that a test, or CI itself, runs."""
    targets = ("demo", "lab", "test", "check", "kill-test N=200")
    known = {f"make {target}" for target in targets}
    server = "python -m runapi_magic.simulator --port 0 --speed 20"
    assert set(COMMAND_LINES) == known | {"pip install .", server}


def test_the_simulator_is_a_server():
    """The command for the server, as written, answers with its address."""
    with serve_simulator("--speed", "20") as server:
        assert server.state()["tasks_created"] == 0


def test_commands_are_documented():
    """The README's table has every command of %runapi."""
    documented = re.findall(r"`%runapi ([a-z]+)", README.split("## Reference")[1])
    assert set(documented) == set(COMMANDS)


def test_public_names_are_documented():
    """The README's reference names everything that the package exports for users."""
    reference = README.split("## Reference")[1].split("## Development")[0]
    hooks = {"load_ipython_extension", "unload_ipython_extension"}
    missing = [name for name in runapi_magic.__all__ if f"`{name}" not in reference]
    assert set(missing) == hooks
