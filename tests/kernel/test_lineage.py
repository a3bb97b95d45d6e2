"""What was made in one kernel is there in the next: trees, and cells that find it for nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

LOAD = "%load_ext runapi_magic"

# Asked from Python, as the buttons do it.
SESSION = """
from runapi_magic.engine.session import current_session
from runapi_magic import generate

session = current_session()
fox = await generate("a fox {made} of \\"paper\\"", aspect_ratio="3:4")
snow = await session.revise(fox.image, "make it snow,\\n   and 'cold'")
moon = await session.revise(snow.image, "add a moon")
rain = await session.revise(fox.image, "make it rain", "flux-kontext-pro")
again = await session.repeat(rain.image)
day = await session.revise(again.image, ">>> make it day")
large = await day.image.upscale(2)
alone = await snow.image.remove_background()
made = [one.image for one in (fox, snow, moon, rain, again, day, large, alone)]
"""
ENDS = ("moon", "rain", "large", "alone")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A session in a kernel that is gone.

    Its server, folder, environment, pictures, lines of cells, tree, and each picture's own cell.
    """
    folder = tmp_path_factory.mktemp("lineage")
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, LOAD) as kernel:
            kernel.run_ok(SESSION)
            pictures = kernel.value("[str(image.path) for image in made]")
            lines = {
                name: kernel.value(
                    f"[(cell, str(one.path)) for cell, one in"
                    f" zip(session.cells({name}.image), {name}.image.line)]"
                )
                for name in ENDS
            }
            alone = kernel.value("[image.cell() for image in made]")
            tree = kernel.value("[(n.name, n.image.prompt, n.parent) for n in fox.tree()]")
        yield server, folder, environment, pictures, lines, tree, alone


@pytest.fixture
def fresh(made):
    """Another kernel, on the same journal and folder."""
    folder, environment = made[1:3]
    with start_kernel(folder, environment, LOAD) as kernel:
        yield kernel


@pytest.mark.parametrize("end", ENDS)
def test_the_cells_of_a_line(made, fresh, end):
    """A line's cells, run in a fresh kernel, give the same pictures from disk, and cost nothing."""
    server, _, _, _, lines, *_ = made
    before = server.state()["tasks_created"]
    for cell, path in lines[end]:
        shown = fresh.run_ok(cell, live=False)
        name = shown_name(cell)
        found = fresh.value(f"[str(image.path) for image in {name}.images]")
        assert len(shown.images) == len(found)
        assert found[-1] == path
        assert fresh.value(f"{name}.cost") == 0
    assert server.state()["tasks_created"] == before == 8


def test_each_cell_alone(made, fresh):
    """What ``image.cell()`` gives runs on its own, last pictures first, and costs nothing."""
    server, _, _, pictures, _, _, alone = made
    before = server.state()["tasks_created"]
    for cell, path in reversed([*zip(alone, pictures, strict=True)]):
        fresh.run_ok(cell, live=False)
        name = shown_name(cell)
        assert fresh.value(f"(str({name}.images[-1].path), {name}.cost)") == (path, 0)
        fresh.run_ok(f"del {name}")
    assert server.state()["tasks_created"] == before


def shown_name(cell):
    """The variable that a cell binds."""
    rows = cell.splitlines()
    return rows[0].split(" -o ")[1] if cell.startswith("%") else rows[-1]


def test_all_cells_as_a_notebook(made, fresh):
    """All lines' cells in one notebook: each picture of the session is there, each once paid."""
    server, _, _, pictures, lines, *_ = made
    before = server.state()["tasks_created"]
    found = set()
    for cell in dict.fromkeys(cell for line in lines.values() for cell, _ in line):
        fresh.run_ok(cell, live=False)
        found |= set(fresh.value(f"[str(image.path) for image in {shown_name(cell)}.images]"))
    assert found == set(pictures)
    assert server.state()["tasks_created"] == before


def test_the_tree_in_another_kernel(made, fresh):
    """%runapi history in a fresh kernel shows the tree, as text and as a picture."""
    *_, tree, _ = made
    shown = fresh.run_ok("%runapi history")
    text = shown.stream("stdout")
    assert len(shown.images) == 1
    for name, prompt, _ in tree:
        assert f"{name}  {' '.join(prompt.split())}" in text
    assert "└─ " in text
    assert fresh.run_ok("%runapi history nothing-like-this").text.strip() == (
        "No picture has 'nothing-like-this' in its prompt or model."
    )


def test_edits_in_other_cells(made, fresh):
    """Edits by a variable, and by the path of a picture's file, stand in the same tree."""
    *_, pictures, lines, tree, _ = made
    path = Path(pictures[0]).name
    for cell, _ in lines["moon"]:
        fresh.run_ok(cell, live=False)
    variable = shown_name(lines["moon"][-1][0])
    fresh.run_ok(f"%%gpt_edit {variable} --wait -o dusk\nmake it dusk", live=False)
    fresh.run_ok(f"%%gpt_edit gpt-images/{path} --wait -o dawn\nmake it dawn", live=False)
    assert fresh.value("(dusk.image.version, dawn.image.version)") == (4, 2)
    now = fresh.value("[(n.name, n.image.prompt, n.parent) for n in dawn.tree()]")
    assert now[: len(tree)] == tree
    assert [prompt for _, prompt, _ in now[len(tree) :]] == ["make it dusk", "make it dawn"]
    assert [parent for *_, parent in now[len(tree) :]] == [2, 0]


@pytest.mark.parametrize("number", [2, 6])
def test_show_prints_cells_that_run(made, fresh, number):
    """The cells that %runapi show prints give the picture from disk, at no cost."""
    server, _, _, pictures, *_ = made
    before = server.state()["tasks_created"]
    relative = f"gpt-images/{Path(pictures[number]).name}"
    text = fresh.run_ok(f"%runapi show {relative}").stream("stdout")
    head, _, cells = text.partition("at no cost:\n")
    assert f"File     {relative}" in head
    printed = [cell.strip() for cell in split_cells(cells)]
    assert len(printed) >= 3
    for cell in printed:
        fresh.run_ok(cell, live=False)
    found = fresh.value(f"[str(image.path) for image in {shown_name(printed[-1])}.images]")
    assert pictures[number] in found
    assert server.state()["tasks_created"] == before


WAYS = ("snow", "snow.image", "snow.images[0]", "{snow}", "$snow", "{snow.image.path}", "$f", "f",
        "shelf['snowy']")  # fmt: skip


def test_show_takes_what_an_edit_takes(made, fresh):
    """%runapi show takes a variable in all the ways in which %%gpt_edit does."""
    server, _, _, pictures, *_, alone = made
    before = server.state()["tasks_created"]
    fresh.run_ok(alone[1], live=False)
    fresh.run_ok(f"snow = {shown_name(alone[1])}\nf = snow.image.path")
    fresh.run_ok("shelf = {'snowy': snow}")
    for way in WAYS:
        text = fresh.run_ok(f"%runapi show {way}").stream("stdout")
        assert text.startswith(f"File     gpt-images/{Path(pictures[1]).name}, "), way
        fresh.run_ok(f"%gpt_edit {way} --dry-run make it rain", live=False)
    assert server.state()["tasks_created"] == before


def test_show_waits_for_nothing(made, fresh):
    """A picture that is still coming has no file to tell of: that is said, and it goes on."""
    server = made[0]
    server.fault("status=stuck,match=a stuck fox")
    fresh.run_ok("%gpt_image -o stuck a stuck fox")
    cell = fresh.run("%runapi show stuck")
    assert "There is no picture yet" in cell.text
    assert "The task goes on." in cell.text
    fresh.run_ok("stuck.cancel()")
    server.clear_faults()


def split_cells(text):
    """The cells of a text in which a blank line stands before each."""
    cells = []
    for row in text.splitlines():
        if row.startswith(("%%gpt_", "%gpt_", "from runapi_magic")):
            cells.append("")
        cells[-1:] = [f"{cells[-1]}{row}\n"] if cells else []
    return cells


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show", "takes one picture, by its variable or its path"),
        ("show nothing.png", "There is no variable, and no file, nothing.png"),
        ("show gpt-images/nothing.png", "There is no file gpt-images/nothing.png"),
        ("show kernel.log", "is not an image"),
        ("show https://example.com/a.png", "does not say how it was made"),
        ("history --limit none", "no number of pictures"),
        ("gallery --limit 101", "no number of pictures from 1 to 100"),
    ],
)
def test_mistakes(fresh, line, words):
    """A mistake is told in words, without a traceback."""
    cell = fresh.run(f"%runapi {line}")
    assert cell.reply["status"] == "error"
    assert words in cell.text
    assert "Traceback" not in cell.text
    assert "Nothing was sent" in cell.text


def test_gallery(made, fresh):
    """``%runapi gallery`` shows what was made before on one sheet, and lists it, newest first."""
    pictures = made[3]
    cell = fresh.run_ok("%runapi gallery rain --limit 1")
    (sheet,) = cell.images
    assert sheet["metadata"]["image/jpeg"]["width"] > 100
    name = pictures[4].rpartition("/")[2]  # the repeated one
    assert f"make it rain · gpt-images/{name}" in cell.stream("stdout")
    assert "and 1 older" in cell.stream("stdout")
    none = fresh.run_ok("%runapi gallery zebra fish").stream("stdout")
    assert none == "No picture has 'zebra fish' in its prompt or model.\n"


@pytest.mark.parametrize("line", ["history --limits 3", "gallery --cost", "history rain --all"])
def test_an_option_that_there_is_not(fresh, line):
    """A misspelt option is named, and is not looked for in prompts."""
    said = fresh.run(f"%runapi {line}").stream("stderr")
    assert re.match(r"UsageError: There is no option --(limits|cost|all)\.\n", said)
    assert "--limit 20" in said
