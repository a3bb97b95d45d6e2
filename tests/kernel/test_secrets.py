"""The key appears only in requests to the service."""

from __future__ import annotations

import json

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.conftest import make_notebook
from tests.kernel.kernels import execute, start_kernel

ECHO = f"create=401,match=echo,message=The key {KEY} is not known"
BODIES = ("object", "string", "text", "html", "errors_list")

CELLS = (
    "import logging\nlogging.basicConfig(level=logging.DEBUG, force=True)",
    "%load_ext runapi_magic\n%xmode Verbose",
    "%runapi status",
    "%%gpt_image --wait -o good\na cat without secrets",
    "%%gpt_edit good --wait -o child\nmake it blue",
    "%%gpt_image --wait -o refused\nan echo",
    "refused.errors[0]",
    "print(repr(refused), repr(good), good.image.request)",
    "raise refused.errors[0]",
    "%config RunAPIMagics",
    "%runapi balance",
    "from runapi_magic.notebook.api import open_session\nsession = open_session()\nsession",
    "vars(session)",
    "session.service(), session.service().access, session.service().access.key",
    "print(session.service(), session.settings, session.settings.trait_values())",
    "def fail(access):\n    raise ValueError(access)\nfail(session.service().access)",
    "import pickle\npickle.dumps(session.service().access)",
    "%whos",
    "%runapi fly",
)


def read_all(folder):
    """Return the bytes of all files below a folder."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def echo_server():
    """Start a simulator that rejects some requests with an error that repeats the key."""
    with serve_simulator("--speed", "60", "--fault", f"{ECHO},body=object") as server:
        yield server


def test_key_is_not_shown_in_a_live_kernel(tmp_path, echo_server):
    """No output, error, repr, setting, traceback, debug log or file contains the key."""
    environment = clean_environment(tmp_path, RUNAPI_BASE_URL=echo_server.url, RUNAPI_API_KEY=KEY)
    with start_kernel(tmp_path, environment, *CELLS[:2]) as kernel:
        cells = [kernel.run(code) for code in CELLS[2:]]
        kernel.wait(lambda: "Balance $" in cells[CELLS.index("%runapi balance") - 2].text)
        shown = json.dumps(kernel.received)
    assert cells[1].images
    assert "is not known" in cells[3].text
    assert KEY not in shown
    assert KEY.encode() not in read_all(tmp_path)


@pytest.mark.parametrize("body", BODIES)
def test_key_in_an_error_body_is_removed(tmp_path, kernel_with_echo, body):
    """If an error of the service repeats the key, in any format, the key is not shown."""
    kernel, server = kernel_with_echo
    server.clear_faults()
    server.fault(f"{ECHO},body={body}")
    cell = kernel.run(f"%%gpt_image --wait\nan echo in {body}")
    assert "did not accept the API key" in cell.text
    assert KEY not in json.dumps(cell.outputs)


@pytest.fixture(scope="module")
def kernel_with_echo(tmp_path_factory):
    """Start a kernel and its simulator for errors that repeat the key."""
    folder = tmp_path_factory.mktemp("echo")
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            yield kernel, server


def test_key_is_not_in_a_saved_notebook(tmp_path, echo_server, capfd):
    """With nbclient, the notebook, the log and the files do not contain the key."""
    notebook = make_notebook(*CELLS)
    environment = clean_environment(tmp_path, RUNAPI_BASE_URL=echo_server.url, RUNAPI_API_KEY=KEY)
    execute(notebook, tmp_path, environment, seconds=60, allow_errors=True)
    captured = capfd.readouterr()
    assert KEY not in json.dumps(notebook) + captured.out + captured.err
    assert KEY.encode() not in read_all(tmp_path)
