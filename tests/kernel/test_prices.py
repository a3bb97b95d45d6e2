"""Prices before a request is sent: ``--dry-run`` and ``--max-cost``."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.kernel.kernels import NOT_SENT, error_message


def posted_paths(server):
    """Return the paths of all POST requests so far, without those for prices."""
    requests = server.state()["requests"]
    return [r["path"] for r in requests if r["method"] == "POST" and "quotes" not in r["path"]]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%gpt_image --dry-run a dry hill", "1 image: $0.06 (quoted)"),
        ("%%gpt_image --dry-run -n 3 -r 2k\na dry hill", "3 images: $0.30 (quoted)"),
        ("%%gpt_image --dry-run -n 40\na dry hill", "40 images: $2.40 (quoted)"),
        ('%%gpt_image --dry-run --then "upscale 4"\na dry hill', "2 images: $0.26 (quoted)"),
        ("%%gpt_edit local.png --dry-run\na dry edit", "1 image: $0.06 (quoted)"),
    ],
    ids=["line", "count", "many", "chain", "edit"],
)
def test_dry_run(workspace, server, cell, words, live):
    """``--dry-run`` shows the number of images and their price; nothing is sent or uploaded."""
    Image.new("RGB", (8, 6), "orange").save(workspace.folder / "local.png")
    before = posted_paths(server)
    shown = workspace.kernel.run_ok(cell, live=live)
    workspace.kernel.wait(lambda: "Nothing was sent." in shown.text)
    assert f"{words}. Nothing was sent." in shown.text
    assert posted_paths(server) == before


def test_dry_run_on_the_simulator(kernel):
    """With the simulator in the kernel, ``--dry-run`` says that the price is not charged."""
    kernel.run_ok("%runapi simulator on --speed 100")
    shown = kernel.run_ok("%gpt_image --dry-run a dry simulated hill", live=False)
    kernel.run_ok("%runapi simulator off")
    assert "$0.06 (quoted). Nothing was sent. Simulated: nothing is charged." in shown.text


def test_dry_run_of_saved_images(kernel, server):
    """``--dry-run`` does not count the price of images that an earlier cell has saved."""
    kernel.run_ok("%%gpt_image -n 2\na hill for a dry run", live=False)
    again = kernel.run_ok("%%gpt_image -n 3 --dry-run\na hill for a dry run", live=False)
    assert "3 images, 2 of them cached or already running: $0.06" in again.text
    new = kernel.run_ok("%%gpt_image -n 2 --new --dry-run\na hill for a dry run", live=False)
    assert "2 images: $0.12" in new.text


def test_dry_run_does_not_bind_a_variable(kernel):
    """``--dry-run -o`` makes no image, so the variable keeps its value."""
    kernel.run_ok("kept = 7\n%gpt_image --dry-run -o kept a dry hill for a name", live=False)
    assert kernel.value("kept") == 7


def test_dry_run_of_an_invalid_request(kernel, server):
    """``--dry-run`` of an invalid request gives a message and requests no price."""
    before = len(server.state()["requests"])
    message = error_message(kernel.run("%gpt_image --dry-run -a 7:5 a dry hill"))
    assert "7:5" in message
    assert NOT_SENT in message
    assert len(server.state()["requests"]) == before


@pytest.mark.parametrize("live", [True, False])
def test_max_cost(kernel, server, live):
    """``--max-cost`` rejects a request that costs more and allows one that does not."""
    cell = kernel.run(f"%%gpt_image -n 2 --max-cost 0.11\na hill too dear {live}", live=live)
    kernel.wait(lambda: "maximum cost" in cell.text)
    assert "2 images: $0.12 (quoted), and the maximum cost is $0.11." in error_message(cell)
    assert NOT_SENT in cell.text
    assert "allow a higher maximum cost" in cell.text
    assert server.bodies(f"too dear {live}") == []
    cheap = kernel.run(f"%%gpt_image -n 2 --max-cost 0.12\na hill not too dear {live}", live=live)
    assert len(kernel.wait_for_images(cheap, 2)) == 2


@pytest.mark.parametrize("amount", ["-1", "nan", "much"])
def test_max_cost_rejects_a_wrong_amount(kernel, server, amount):
    """A value of ``--max-cost`` that is not an amount is rejected, and nothing is sent."""
    message = error_message(kernel.run(f"%gpt_image --max-cost={amount} a hill at no price"))
    assert "max-cost" in message
    assert NOT_SENT in message
    assert server.bodies("at no price") == []
