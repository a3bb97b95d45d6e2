"""``jupyter console``, a front end that shows text and ignores updates of outputs."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pexpect
import pytest

from tests.conftest import clean_environment

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # escape sequences for colours and cursor positions
VIEWER = "['cp', '/dev/stdin', 'shown.{format}']"  # instead of the desktop's image viewer


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """Start a console; ``run`` enters a line and returns the output before the next prompt."""
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


def test_cell_shows_its_result_once(console):
    """A cell waits. Then it shows the image, the prompt, the facts and the path, each once."""
    output = console.run("%gpt_image -a 3:4 -o cat a cat in a console")
    _, rest = output.split("Running: a cat in a console (usually 0.")
    _, *caption = [line.strip() for line in rest.strip().splitlines()]
    assert caption[0] == "a cat in a console"
    assert caption[1].startswith("gpt-image-2 · 3:4 · 768 x 1024 px · ")
    assert caption[2].startswith("gpt-images/a-cat-in-a-console-")
    assert len(caption) == 3
    assert (console.folder / "shown.jpeg").read_bytes().startswith(b"\xff\xd8")
    assert "(768, 1024)" in console.run("cat.image.size")


def test_sweep_shows_its_table(console):
    """A sweep waits and then shows its table."""
    output = console.run("%gpt_image --sweep animal=fox,owl a {animal} in a console")
    assert "Running: a {animal} in a console (2 requests)" in output
    assert len(re.findall(r"(fox|owl) .*completed .*gpt-images/", output)) == 2


def test_status_and_panel(console):
    """``%runapi status`` shows the status. The panel says that it needs a notebook."""
    assert "simulator in this kernel" in console.run("%runapi status")
    assert "The panel needs a notebook" in console.run("%gpt_panel")


def test_error_has_no_traceback(console):
    """A wrong option gives a message without a traceback."""
    output = console.run("%gpt_image -a 5:9 a cat")
    assert "InvalidRequestError: '5:9'" in output
    assert "Traceback" not in output


def test_many_images_need_yes(console):
    """Many images need --yes, because a console has no buttons."""
    output = console.run("%gpt_image -n 11 a flock")
    assert "Add --yes, or see the price first with --dry-run." in output
