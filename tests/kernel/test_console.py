"""``jupyter console``: a front end of a kernel that shows text, and no updates."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pexpect
import pytest

from tests.conftest import clean_environment

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # how a terminal is told colours and places
VIEWER = "['cp', '/dev/stdin', 'shown.{format}']"  # in the place of the desktop's


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """A console; ``run`` types a line and returns what is said before the next prompt."""
    folder = tmp_path_factory.mktemp("console")
    shell = "--ZMQTerminalInteractiveShell"
    viewer = [f"{shell}.image_handler=stream", f"{shell}.stream_image_handler={VIEWER}"]
    child = pexpect.spawn(
        sys.executable,
        ["-m", "jupyter_console", *viewer],
        cwd=str(folder),
        env=clean_environment(folder, TERM="dumb"),
        timeout=60,
        encoding="utf-8",
        dimensions=(50, 200),
    )
    count = 1

    def run(line):
        nonlocal count
        count += 1
        child.sendline(line)
        child.expect_exact(f"In [{count}]: ")
        return CODES.sub("", child.before)

    try:
        child.expect_exact("In [1]: ")
        run("%load_ext runapi_magic")
        run("%runapi simulator on --speed 60")
        yield SimpleNamespace(run=run, folder=folder)
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


def test_cell(console):
    """A cell waits and ends with the picture, prompt, facts and path: text, and each once."""
    said = console.run("%gpt_image -a 3:4 -o cat a cat in a console")
    _, rest = said.split("Under way: a cat in a console (usually 0.")
    _, *caption = [line.strip() for line in rest.strip().splitlines()]
    assert caption[0] == "a cat in a console"
    assert caption[1].startswith("gpt-image-2 · 3:4 · 768 x 1024 px · ")
    assert caption[2].startswith("gpt-images/a-cat-in-a-console-")
    assert len(caption) == 3
    assert (console.folder / "shown.jpeg").read_bytes().startswith(b"\xff\xd8")
    assert "(768, 1024)" in console.run("cat.image.size")


def test_sweep(console):
    """A sweep waits and ends with its table."""
    said = console.run("%gpt_image --sweep animal=fox,owl a {animal} in a console")
    assert "Under way: a {animal} in a console (2 requests)" in said
    assert len(re.findall(r"(fox|owl) .*completed .*gpt-images/", said)) == 2


def test_commands(console):
    """``%runapi status`` answers; the panel says that it is for a notebook."""
    assert "simulator in this kernel" in console.run("%runapi status")
    assert "The panel needs a notebook" in console.run("%gpt_panel")


def test_mistake(console):
    """A mistake is told in words, without a traceback."""
    said = console.run("%gpt_image -a 5:9 a cat")
    assert "UsageError: '5:9'" in said
    assert "Traceback" not in said


def test_many_pictures_need_yes(console):
    """Many pictures need --yes: nobody can click in a console."""
    said = console.run("%gpt_image -n 11 a flock")
    assert "Add --yes, or look first with --dry-run." in said
