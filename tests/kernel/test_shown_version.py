"""Restart and Run All: each cell shows the version that it showed last, at no cost."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import FIND_WIDGETS, start_kernel

LOAD = "%load_ext runapi_magic"
VS_CODE = "vscode-notebook-cell:/home/me/a.ipynb#"
KEEP = """
from runapi_magic.engine.session import current_session
_ = await blue
owl.show_version(owl.slots[0], blue.image)
await current_session().pipeline.shown_versions.keep(owl, owl.slots[0])
"""


@pytest.fixture
def notebook(tmp_path):
    """Return a server and a function that starts kernels with the same folder and journal."""
    with serve_simulator("--speed", "45") as server:

        def start(name="work/a.ipynb"):
            environment = clean_environment(
                tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY, JPY_SESSION_NAME=name
            )
            return start_kernel(tmp_path, environment, LOAD)

        yield server, start


def _run_all(kernel, ids, make):
    """Run both cells of the notebook; yield the first cell, then the images of both."""
    owl = kernel.run_ok(make, cell_id=ids[0])
    kernel.wait_for_images(owl)
    yield owl
    kernel.run_ok("%%gpt_edit owl --wait -o hat\nadd a hat", cell_id=ids[1])
    yield kernel.value("[owl.image.prompt, str(owl.image.path), str(hat.image.path), hat.cost]")


MAGIC, CALL = "%%gpt_image -o owl\nan owl", 'owl = generate("an owl"); owl'
IN_LAB = (("c1", "c2"), ("c1", "c2"))
IN_VS_CODE = ((VS_CODE + "W0s", VS_CODE + "W1s"), (VS_CODE + "W5s", VS_CODE + "W6s"))
WITHOUT = ((None, None), (None, None))


@pytest.mark.parametrize(
    ("before", "after", "make"),
    [(*IN_LAB, MAGIC), (*IN_LAB, CALL), (*IN_VS_CODE, MAGIC), (*WITHOUT, CALL)],
    ids=["JupyterLab", "JupyterLab, generate", "VS Code", "no cell ids, generate"],
)
@pytest.mark.versions
def test_versions_stay_after_restart_and_run_all(notebook, before, after, make):
    """An edit by a click and its edit in another cell are shown after a restart, at no cost."""
    server, start = notebook
    imports = f"{FIND_WIDGETS}\nfrom runapi_magic import generate"
    with start() as kernel:
        kernel.run_ok(imports)
        cells = _run_all(kernel, before, make)
        owl = next(cells)
        kernel.run_ok("_ = await owl")
        kernel.run_ok("newest(Button, 'Edit').click()")
        kernel.wait(
            lambda: kernel.value("len([w for w in _instances.values() if type(w) is Text])")
        )
        kernel.run_ok("newest(Text).value = 'make it blue'\nnewest(Button, 'Go').click()")
        kernel.wait(lambda: "v1 > v2" in owl.text)
        shown = next(cells)
    charged = server.state()["charged_cents"]
    with start() as kernel:
        kernel.run_ok(imports)
        cells = _run_all(kernel, after, make)
        owl = next(cells)
        again = next(cells)
        kernel.wait(lambda: "v1 > v2" in owl.text)
        assert kernel.value("len(owl.images)") == 2
    assert shown[0] == "make it blue"
    assert again == [*shown[:3], 0]
    assert server.state()["charged_cents"] == charged
    with start("work/b.ipynb") as kernel:
        kernel.run_ok(imports)
        other, _ = _run_all(
            kernel, tuple(id_ and id_.replace("a.ip", "b.ip") for id_ in after), make
        )
        assert kernel.value("owl.image.prompt") == "an owl"
        assert "v1 > v2" not in other.text


def test_chain_uses_its_own_previous_image(notebook):
    """A step of a chain edits the image of the step before, whatever version a cell shows."""
    server, start = notebook
    chain = '%%gpt_image --wait --then "make it blue" -o blue\nan owl'
    with start() as kernel:
        kernel.run_ok(chain)
        kernel.run_ok("%%gpt_image --wait -o owl\nan owl")
        kernel.run_ok(KEEP)
        path = kernel.value("str(blue.image.path)")
    with start() as kernel:
        kernel.run_ok(chain)
        assert kernel.value("[str(blue.image.path), blue.cost]") == [path, 0]
        kernel.run_ok("%%gpt_image --wait -o owl\nan owl")
        assert kernel.value("str(owl.image.path)") == path
    assert server.state()["tasks_created"] == 2
