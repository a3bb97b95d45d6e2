"""Every page does what it says: what can be run is run, and what is linked to is there."""

from __future__ import annotations

import re
import subprocess

import nbformat
import pytest

from tests.conftest import KEY, ROOT, serve_simulator
from tests.docs.pages import BLOCKS, CODE, DRAWING, FILES, GUIDES, OUTPUT, PAGES, RECIPES, Reader

MAKE = sorted(
    {line for block in BLOCKS if block.is_make for line in block.code.splitlines()}
    | {  # in the middle of a sentence
        " ".join(words.split())
        for page in PAGES
        for words in re.findall(r"`(make\s[\w-]+)`", page.read_text("utf-8"))
    }
)
LINKS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
        if not link.startswith(("https://", "http://"))
    }
)
READ = set()  # the sections that a test below goes through


def reads(page, section):
    """Mark a test as the one that goes through a section."""
    READ.add((page, section))
    found = [block for block in BLOCKS if (block.page, block.section) == (page, section)]
    return pytest.mark.parametrize("section", [pytest.param(found, id=section)])


@pytest.fixture
def server():
    """A simulator server for both route families, 60 times as fast as life."""
    with serve_simulator("--speed", "60") as running:
        yield running


@pytest.mark.kernel
@reads(RECIPES, "Retry a failed batch")
def test_retry(section, tmp_path, server):
    """What failed is asked for again and nothing else; after a restart nothing is paid twice."""
    server.fault("status=failed,match=blue,times=1,message=It was a bad day")
    run = Reader(tmp_path, server, RUNAPI_API_KEY=KEY).read(section)
    first, why, retried, again = run.texts
    assert "(2, ['A blue kite'])" in first
    assert "TaskFailedError" in why
    assert "It was a bad day" in why
    assert "Failed tasks are not charged." in why
    assert "(3, 0.18)" in retried
    assert "(3, 0, 0.18)" in again.replace("0.0,", "0,")
    assert len(server.bodies("kite")) == 4


@pytest.mark.kernel
@reads(RECIPES, "Use Hermes Agent's key")
def test_hermes(section, tmp_path, server):
    """Hermes Agent's files are enough: the key is found there, and pictures are made with it."""
    run = Reader(tmp_path, server).read(section)
    assert "from ~/.hermes/.env (Hermes Agent)" in run.texts[2]
    assert len(server.bodies("A desk lamp")) == 1


@pytest.mark.kernel
@reads(RECIPES, "A class on JupyterHub with one key")
def test_class(section, tmp_path, server):
    """A student's kernel has the key, a data folder of its own and the budget of the day."""
    places = {"RUNAPI_API_KEY": KEY, "CLASS_FOLDER": str(tmp_path / "class")}
    run = Reader(tmp_path, server, **places).read(section)
    assert "Budget of the day  $2.00" in run.texts[-1]
    assert "today $0.06" in run.texts[-1]
    assert (tmp_path / "class" / "ada" / "journal.sqlite").is_file()


@pytest.mark.kernel
@reads(RECIPES, "A class without a key")
def test_class_without_a_key(section, tmp_path, server):
    """Kernels that know the address of the class's simulator use it, with any word as the key."""
    run = Reader(tmp_path, server).read(section)
    assert "Spent by the account today $0.06" in run.texts[-1]
    assert server.bodies("kite") == []


@pytest.mark.kernel
@reads(RECIPES, "A scheduled notebook")
def test_scheduled(section, tmp_path, server):
    """Papermill sets the parameters; the second run in earnest asks for nothing that was made."""
    run = Reader(tmp_path, server, RUNAPI_API_KEY=KEY).read(section)
    assert {body["prompt"] for body in server.bodies("kite")} == {
        "a red kite at dawn",
        "a red kite at noon",
    }
    assert len(server.bodies("")) == 2
    for name in ("tried", "made", "again"):
        notebook = nbformat.read(run.folder / f"{name}.ipynb", 4)
        assert "(2, 'a red kite at dawn')" in str(notebook)


@pytest.mark.kernel
@reads(RECIPES, "Pictures in an object store")
def test_store(section, tmp_path, server):
    """A picture is in the store under its URL, and comes back where the local copy is gone."""
    run = Reader(tmp_path, server, RUNAPI_API_KEY=KEY).read(section)
    assert "(1024, 1024)" in run.texts[-1]
    assert len(list((run.folder / "bucket").glob("a-red-barn-*.png"))) == 1


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.section}")
def test_every_block_is_run(block):
    """A block is shown only, has a test of its own, or is run with its section or its page."""
    assert block.language in {OUTPUT, DRAWING, *CODE, *FILES}
    assert block.file or block.language not in FILES
    is_run = (block.page, block.section) in READ or block.page in GUIDES
    assert is_run or not block.is_for_reader


@pytest.mark.parametrize("command", MAKE)
def test_make_targets_exist(command):
    """Every make target that a page names exists and knows what it would do."""
    words = ["make", "--dry-run", *command.split()[1:]]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page, link):
    """Every link of a page into the project leads to a file, and to a heading in it."""
    name, _, anchor = link.partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.is_file()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        assert anchor in anchors
