"""The lineage of images in a later kernel: trees, and cells that show the images at no cost."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

LOAD = "%load_ext runapi_magic"

# The edits that buttons make, from Python.
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
cutout = await snow.image.remove_background()
made = [one.image for one in (fox, snow, moon, rain, again, day, large, cutout)]
"""
ENDS = ("moon", "rain", "large", "cutout")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Generate and edit images in a kernel that ends.

    Yield the kernel's server, folder and environment; the images' paths, tree and own cells; and
    the cells of four lineages.
    """
    folder = tmp_path_factory.mktemp("lineage")
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, LOAD) as kernel:
            kernel.run_ok(SESSION)
            paths = kernel.value("[str(image.path) for image in made]")
            lineages = {
                name: kernel.value(
                    f"[(cell, str(one.path)) for cell, one in"
                    f" zip(session.library.cells({name}.image), {name}.image.line)]"
                )
                for name in ENDS
            }
            cells = kernel.value("[image.cell() for image in made]")
            tree = kernel.value("[(n.name, n.image.prompt, n.parent) for n in fox.tree()]")
        yield SimpleNamespace(
            server=server, folder=folder, environment=environment,
            paths=paths, lineages=lineages, tree=tree, cells=cells,
        )  # fmt: skip


@pytest.fixture
def fresh(made):
    """Start another kernel with the same journal and folder."""
    with start_kernel(made.folder, made.environment, LOAD) as kernel:
        yield kernel


@pytest.mark.parametrize("end", ENDS)
def test_cells_of_a_lineage(made, fresh, end):
    """The cells of a lineage show the same saved images in a new kernel and cost nothing."""
    before = made.server.state()["tasks_created"]
    for cell, path in made.lineages[end]:
        shown = fresh.run_ok(cell, live=False)
        name = bound_name(cell)
        found = fresh.value(f"[str(image.path) for image in {name}.images]")
        assert len(shown.images) == len(found)
        assert found[-1] == path
        assert fresh.value(f"{name}.cost") == 0
    assert made.server.state()["tasks_created"] == before == 8


def test_each_cell_on_its_own(made, fresh):
    """The cell that ``image.cell()`` returns runs without the others and costs nothing."""
    before = made.server.state()["tasks_created"]
    for cell, path in reversed([*zip(made.cells, made.paths, strict=True)]):
        fresh.run_ok(cell, live=False)
        name = bound_name(cell)
        assert fresh.value(f"(str({name}.images[-1].path), {name}.cost)") == (path, 0)
        fresh.run_ok(f"del {name}")
    assert made.server.state()["tasks_created"] == before


def bound_name(cell):
    """Return the variable that a cell binds."""
    rows = cell.splitlines()
    return rows[0].split(" -o ")[1] if cell.startswith("%") else rows[-1]


def test_all_cells_as_a_notebook(made, fresh):
    """The cells of all lineages in one notebook show every image, and no image is charged again."""
    before = made.server.state()["tasks_created"]
    found = set()
    for cell in dict.fromkeys(cell for lineage in made.lineages.values() for cell, _ in lineage):
        fresh.run_ok(cell, live=False)
        found |= set(fresh.value(f"[str(image.path) for image in {bound_name(cell)}.images]"))
    assert found == set(made.paths)
    assert made.server.state()["tasks_created"] == before


def test_the_tree_in_another_kernel(made, fresh):
    """%runapi history in a new kernel shows the tree as text and as an image."""
    shown = fresh.run_ok("%runapi history")
    text = shown.stream("stdout")
    assert len(shown.images) == 1
    for name, prompt, _ in made.tree:
        assert f"{name}  {' '.join(prompt.split())}" in text
    assert "└─ " in text
    assert fresh.run_ok("%runapi history nothing-like-this").text.strip() == (
        "No image has 'nothing-like-this' in its prompt or model."
    )


def test_edits_by_variable_and_by_path(made, fresh):
    """An edit of a variable and an edit of an image's path both join the tree of their source."""
    name = Path(made.paths[0]).name
    for cell, _ in made.lineages["moon"]:
        fresh.run_ok(cell, live=False)
    variable = bound_name(made.lineages["moon"][-1][0])
    fresh.run_ok(f"%%gpt_edit {variable} --wait -o dusk\nmake it dusk", live=False)
    fresh.run_ok(f"%%gpt_edit gpt-images/{name} --wait -o dawn\nmake it dawn", live=False)
    assert fresh.value("(dusk.image.version, dawn.image.version)") == (4, 2)
    nodes = fresh.value("[(n.name, n.image.prompt, n.parent) for n in dawn.tree()]")
    known = len(made.tree)
    assert nodes[:known] == made.tree
    assert [prompt for _, prompt, _ in nodes[known:]] == ["make it dusk", "make it dawn"]
    assert [parent for *_, parent in nodes[known:]] == [2, 0]


@pytest.mark.parametrize("number", [2, 6])
def test_show_prints_cells_that_run(made, fresh, number):
    """The cells that %runapi show prints run and show the saved image at no cost."""
    before = made.server.state()["tasks_created"]
    relative = f"gpt-images/{Path(made.paths[number]).name}"
    text = fresh.run_ok(f"%runapi show {relative}").stream("stdout")
    head, _, cells = text.partition("at no cost:\n")
    assert f"File     {relative}" in head
    printed = [cell.strip() for cell in split_cells(cells)]
    assert len(printed) >= 3
    for cell in printed:
        fresh.run_ok(cell, live=False)
    found = fresh.value(f"[str(image.path) for image in {bound_name(printed[-1])}.images]")
    assert made.paths[number] in found
    assert made.server.state()["tasks_created"] == before


REFERENCES = (
    "snow", "snow.image", "snow.images[0]", "{snow}", "$snow", "{snow.image.path}", "$f", "f",
    "shelf['snowy']",
)  # fmt: skip


def test_show_accepts_every_reference_of_an_edit(made, fresh):
    """%runapi show accepts every kind of reference to an image that %%gpt_edit accepts."""
    before = made.server.state()["tasks_created"]
    fresh.run_ok(made.cells[1], live=False)
    fresh.run_ok(f"snow = {bound_name(made.cells[1])}\nf = snow.image.path")
    fresh.run_ok("shelf = {'snowy': snow}")
    for reference in REFERENCES:
        text = fresh.run_ok(f"%runapi show {reference}").stream("stdout")
        assert text.startswith(f"File     gpt-images/{Path(made.paths[1]).name}, "), reference
        fresh.run_ok(f"%gpt_edit {reference} --dry-run make it rain", live=False)
    assert made.server.state()["tasks_created"] == before


def test_show_does_not_wait(made, fresh):
    """%runapi show of a running task says that there is no image yet; the task continues."""
    made.server.fault("status=stuck,match=a stuck fox")
    fresh.run_ok("%gpt_image -o stuck a stuck fox")
    cell = fresh.run("%runapi show stuck")
    assert "There is no image yet" in cell.text
    assert "The request is still running." in cell.text
    fresh.run_ok("stuck.cancel()")
    made.server.clear_faults()


def split_cells(text):
    """Return the cells of a text. A blank line separates them."""
    cells = []
    for row in text.splitlines():
        if row.startswith(("%%gpt_", "%gpt_", "from runapi_magic")):
            cells.append("")
        cells[-1:] = [f"{cells[-1]}{row}\n"] if cells else []
    return cells


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show", "takes one image, as a variable or a path"),
        ("show nothing.png", 'There is no variable or file "nothing.png"'),
        ("show gpt-images/nothing.png", "There is no file gpt-images/nothing.png"),
        ("show kernel.log", "is not an image"),
        ("show https://example.com/a.png", "does not say how it was made"),
        ("history --limit none", "--limit needs a number"),
        ("gallery --limit 101", "--limit needs a number from 1 to 100"),
    ],
)
def test_wrong_arguments(fresh, line, words):
    """Wrong arguments give a message without a traceback, and nothing is sent."""
    cell = fresh.run(f"%runapi {line}")
    assert cell.reply["status"] == "error"
    assert words in cell.text
    assert "Traceback" not in cell.text
    assert "Nothing was sent" in cell.text


def test_gallery(made, fresh):
    """``%runapi gallery`` shows earlier images on a contact sheet and lists them, newest first."""
    cell = fresh.run_ok("%runapi gallery rain --limit 1")
    (sheet,) = cell.images
    assert sheet["metadata"]["image/jpeg"]["width"] > 100
    name = made.paths[4].rpartition("/")[2]  # the image of session.repeat
    assert f"make it rain · gpt-images/{name}" in cell.stream("stdout")
    assert "and 1 older" in cell.stream("stdout")
    empty = fresh.run_ok("%runapi gallery zebra fish").stream("stdout")
    assert empty == "No image has 'zebra fish' in its prompt or model.\n"


@pytest.mark.parametrize("line", ["history --limits 3", "gallery --cost", "history rain --all"])
def test_unknown_option_is_rejected(fresh, line):
    """A misspelt option is rejected by name. It is not used as a search word."""
    message = fresh.run(f"%runapi {line}").stream("stderr")
    assert re.match(r"UsageError: There is no option --(limits|cost|all)\.\n", message)
    assert "--limit 20" in message
