"""The pages of the project: all code runs, and all links and make targets exist."""

from __future__ import annotations

import re
import subprocess

import nbformat
import pytest

from tests.conftest import KEY, ROOT, serve_simulator
from tests.docs.pages import BLOCKS, CODE, DRAWING, FILES, GUIDES, OUTPUT, PAGES, RECIPES, Reader

MAKE = sorted(
    {line for block in BLOCKS if block.is_make for line in block.code.splitlines()}
    | {  # commands in a sentence
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
READ = set()  # the sections that a test below runs


def reads(page, section):
    """Return the parametrization of a test that runs a section."""
    READ.add((page, section))
    found = [block for block in BLOCKS if (block.page, block.section) == (page, section)]
    return pytest.mark.parametrize("section", [pytest.param(found, id=section)])


@pytest.fixture
def server():
    """Start a simulator server with both route families, 60 times as fast as the service."""
    with serve_simulator("--speed", "60") as running:
        yield running


@pytest.mark.kernel
@reads(RECIPES, "Retry a failed batch")
def test_retry(section, tmp_path, server):
    """A retry sends only the failed request. After a restart nothing is charged again."""
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
    """The key of Hermes Agent is found in its files and used for requests."""
    run = Reader(tmp_path, server).read(section)
    assert "from ~/.hermes/.env (Hermes Agent)" in run.texts[2]
    assert len(server.bodies("A desk lamp")) == 1


@pytest.mark.kernel
@reads(RECIPES, "A class on JupyterHub with one key")
def test_class(section, tmp_path, server):
    """The kernel of a student has the key, its own data folder and a budget of the day."""
    variables = {"RUNAPI_API_KEY": KEY, "CLASS_FOLDER": str(tmp_path / "class")}
    run = Reader(tmp_path, server, **variables).read(section)
    assert "Budget of the day  $2.00" in run.texts[-1]
    assert "today $0.06" in run.texts[-1]
    assert (tmp_path / "class" / "ada" / "journal.sqlite").is_file()


@pytest.mark.kernel
@reads(RECIPES, "A class without a key")
def test_class_without_a_key(section, tmp_path, server):
    """Kernels with the URL of the class's simulator use it. Any text works as the key."""
    run = Reader(tmp_path, server).read(section)
    assert "Spent by the account today $0.06" in run.texts[-1]
    assert server.bodies("kite") == []


@pytest.mark.kernel
@reads(RECIPES, "A scheduled notebook")
def test_scheduled(section, tmp_path, server):
    """Papermill sets the parameters, and a second run does not generate the same images again."""
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
    """An image is in the object store and is downloaded again if its local copy is missing."""
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
    """Each make target that a page names exists."""
    words = ["make", "--dry-run", *command.split()[1:]]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_exist(page, link):
    """Each link of a page to the project leads to an existing file and heading."""
    name, _, anchor = link.partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.is_file()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        assert anchor in anchors
