"""In a network where only the proxy resolves names, all requests use the proxy and send names."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import UnsafeURLError
from runapi_magic.http.ssrf import check_name
from tests.conftest import KEY

pytestmark = pytest.mark.server

HOSTS = ("runapi.example", "files.example", "direct.example")
_TIMEOUT = 30.0


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Write no log."""


def _serve(stack, handler, context=None):
    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # broken connections are expected
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    stack.callback(server.shutdown)
    return server.server_port


@pytest.fixture
def network(monkeypatch, tmp_path, png):
    """Start a service and a file storage behind a proxy. The local resolver knows no names."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tunnels, resolved, received = [], [], []
    image_url = ["https://files.example/a.png"]

    class Origin(_Quiet):
        def _any(self):
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            received.append((self.headers["Host"], self.path, self.headers["Authorization"]))
            images = [{"url": image_url[0]}]
            done = {"id": "tsk_1", "status": "completed", "images": images}
            body = png if self.path == "/a.png" else json.dumps(done).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _any  # noqa: N815 (http.server's names)

    class Proxy(_Quiet):
        def do_CONNECT(self):
            tunnels.append(self.path)
            self.send_response(200)
            self.end_headers()
            with closing(socket.create_connection(("127.0.0.1", port))) as upstream:
                back = threading.Thread(target=_pump, args=(upstream, self.connection), daemon=True)
                back.start()
                _pump(self.connection, upstream)
                back.join(_TIMEOUT)

    async def getaddrinfo(_loop, host, port, **_):
        name = host.decode() if isinstance(host, bytes) else host
        if name != "127.0.0.1":
            resolved.append(name)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ExitStack() as stack:
        port = _serve(stack, Origin, context)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{_serve(stack, Proxy)}")
        yield tunnels, resolved, received, image_url


def _pump(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _make():
    async def main():
        session = Session(Settings(base_url="https://runapi.example", api_key=KEY))
        try:
            generation = session.generate("a fox")
            await asyncio.wait_for(generation.ended(), _TIMEOUT)
            return generation
        finally:
            await session.service().client.transport.close()
            session.journal.close()

    return asyncio.run(main())


def test_images_are_downloaded_through_the_proxy(network):
    """The proxy gets the names of service and storage, and no name is resolved locally."""
    tunnels, resolved, received, _ = network
    generation = _make()
    assert generation.errors == []
    assert generation.image.path.is_file()
    assert resolved == []
    assert sorted(set(tunnels)) == ["files.example:443", "runapi.example:443"]
    assert [key for host, _, key in received if host == "files.example"] == [None]


def test_all_proxy(network, monkeypatch):
    """ALL_PROXY is used if it is the only variable."""
    _, resolved, _, _ = network
    monkeypatch.setenv("ALL_PROXY", os.environ["HTTPS_PROXY"])
    monkeypatch.delenv("HTTPS_PROXY")
    assert _make().errors == []
    assert resolved == []


def test_hosts_in_no_proxy_are_resolved_locally(network, monkeypatch):
    """A host in NO_PROXY is resolved and checked locally, and not requested from the proxy."""
    tunnels, resolved, _, image_url = network
    image_url[0] = "https://direct.example/a.png"
    monkeypatch.setenv("NO_PROXY", "direct.example")
    (error,) = _make().errors
    assert "The host name direct.example cannot be resolved" in error.what
    assert set(resolved) == {"direct.example"}
    assert set(tunnels) == {"runapi.example:443"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "metadata.google.internal", "intranet"]
)
def test_private_hosts_are_not_requested_from_the_proxy(network, host):
    """Private addresses and local names are refused before the proxy gets them."""
    tunnels, _, _, image_url = network
    image_url[0] = f"https://{host}/a.png"
    (error,) = _make().errors
    assert "private network" in error.what
    assert set(tunnels) == {"runapi.example:443"}


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "a.localhost.", "127.1", "0x7f000001", "2130706433", "0177.0.0.1",
        "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "::1", "::ffff:10.0.0.1",
        "fe80::1%eth0", "printer.local", "box.lan", "10.1.2.3.",
    ],
)  # fmt: skip
def test_other_spellings_of_private_hosts_are_refused(host):
    """Any spelling of a local or private address is refused by its name alone."""
    with pytest.raises(UnsafeURLError):
        check_name(host)


@pytest.mark.parametrize("host", ["files.example", "93.184.216.34", "2606:4700::1111", "a.b.c."])
def test_names_of_the_internet_pass(host):
    """Public addresses and names with a dot are allowed."""
    check_name(host)
