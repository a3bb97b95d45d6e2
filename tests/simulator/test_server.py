"""The simulator as a server: command line, shutdown and dropped connections."""

import signal
import subprocess
import sys

import httpx
import pytest

from tests.conftest import serve_simulator

from .conftest import KEY

BODY = {"model": "gpt-image-2", "prompt": "a fox"}
CREATE = "/api/v1/gpt_image_2/text_to_image"


def run(*arguments):
    """Run the command line until it exits."""
    command = [sys.executable, "-m", "runapi_magic.simulator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "create=oops"], "unknown effect 'oops'"),
        (["--speed", "0"], "speed must be a positive number"),
        (["--family", "other"], "invalid choice"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
    ],
)
def test_a_bad_argument_exits_with_2(arguments, message):
    """A wrong argument exits with status 2 and a message on stderr; stdout stays empty."""
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr


def test_help_documents_the_faults():
    """--help contains the syntax of faults."""
    shown = run("--help").stdout
    assert all(word in shown for word in ("--fault", "drop_after", "retry_after=2|1.5|date"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_the_server(name):
    """The server exits with status 0 and prints nothing more."""
    options = ("--family", "guide", "--seed", "4")
    with serve_simulator(*options, stderr=subprocess.PIPE) as server:
        assert httpx.post(f"{server.url}{CREATE}", json=BODY, headers=KEY).status_code == 404
        server.process.send_signal(getattr(signal, name))
        out, err = server.process.communicate(timeout=10)
    assert (server.process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(("effect", "made"), [("drop_before", 0), ("drop_after", 1)])
def test_a_connection_is_dropped(server, effect, made):
    """The socket closes without a response. The server keeps running."""
    server.fault(f"create={effect},times=1")
    before = server.state()["tasks_created"]
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        httpx.post(f"{server.url}{CREATE}", json=BODY, headers=KEY)
    assert server.state()["tasks_created"] - before == made


def finished_image(server):
    """Create an image and return its URL."""
    created = httpx.post(f"{server.url}{CREATE}", json=BODY, headers=KEY)
    task_id = created.json()["id"]
    while True:
        found = httpx.get(f"{server.url}{CREATE}/{task_id}", headers=KEY).json()
        if found["status"] == "completed":
            return found["images"][0]["url"]


@pytest.mark.parametrize("effect", ["drop", "truncated", "huge"])
def test_an_interrupted_download(server, effect):
    """On a socket, the connection closes before the announced end of the body."""
    url = finished_image(server)
    server.fault(f"download={effect},times=1")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url)
    assert httpx.get(url).status_code == 200


def test_a_redirected_download_is_another_origin_of_the_same_server(server):
    """On loopback the foreign host is the same server. The test can see what a client sends."""
    url = finished_image(server)
    server.fault("download=redirect_foreign,times=1")
    response = httpx.get(url, follow_redirects=True)
    assert (response.status_code, response.url.host) == (200, "localhost")


def test_faults_on_the_command_line():
    """--fault can be repeated."""
    with serve_simulator("--fault", "create=503,times=1", "--fault", "balance=500") as server:
        assert httpx.post(f"{server.url}{CREATE}", json=BODY, headers=KEY).status_code == 503
        assert httpx.get(f"{server.url}/api/v1/me/balance", headers=KEY).status_code == 500


def test_importing_the_package_loads_neither_pillow_nor_uvicorn():
    """Both are imported on first use."""
    code = (
        "import sys; from runapi_magic.simulator import Simulator, create_app; "
        "create_app(Simulator()); print([m for m in ('PIL', 'uvicorn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
