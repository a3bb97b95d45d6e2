"""Chains of edits, and variables that hold an array or a figure, in a real kernel."""

from __future__ import annotations

import nbformat
import pytest

from tests.conftest import KEY, ROOT
from tests.kernel.kernels import execute

pytestmark = pytest.mark.kernel


def run_cells(home, *sources):
    """Run cells as nbconvert does and return them with their outputs."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    return execute(notebook, home.parent / "work").cells


@pytest.fixture
def service(home, simulator_server, monkeypatch):
    """Set the environment so that kernels use a simulator server, and return the server."""
    monkeypatch.setenv("RUNAPI_BASE_URL", simulator_server.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return simulator_server


def test_a_chain_shows_every_step(home, service):
    """--then edits the previous image at each step, shows all images and binds the last one."""
    cells = run_cells(
        home,
        "%load_ext runapi_magic",
        '%%gpt_image --then "refine: softer light" --then "upscale 2" -a 1:1 -o big\nA crane',
        "big.image.size, big.image.version, big.image.parent.model",
    )
    images = [output for output in cells[1].outputs if "image/jpeg" in output.get("data", {})]
    assert len(images) == 3
    shown = cells[2].outputs[0]["data"]["text/plain"]
    assert shown == "((2048, 2048), 3, 'flux-kontext-pro')"
    models = [task["model"] for task in service.state()["tasks"]]
    assert models == ["gpt-image-2", "flux-kontext-pro", "topaz-upscale-image"]


def test_edit_an_array_and_a_figure(home, service, monkeypatch):
    """Variables that hold a float array or a matplotlib figure can be the source of an edit."""
    monkeypatch.setenv("MPLCONFIGDIR", str(home.parent))
    cells = run_cells(
        home,
        "%load_ext runapi_magic\nimport numpy as np\nfrom matplotlib.figure import Figure",
        "ramp = np.linspace(0, 1, 4096).reshape(64, 64)\n"
        "plot = Figure(figsize=(2, 1), dpi=100, layout='constrained')\n"
        "plot.subplots().plot([1, 3, 2])",
        "%%gpt_edit ramp -o first\nInvert it",
        "%%gpt_edit plot -o second\nMake it night",
        "first.image.size, second.image.size",
    )
    assert cells[-1].outputs[0]["data"]["text/plain"] == "((1024, 1024), (1024, 512))"
    assert service.state()["tasks_created"] == 2
