"""What is sent: URLs without changes, the key and no other password, and to which proxy."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.errors import ConfigurationError, ConnectionFailedError, DownloadError
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

pytestmark = pytest.mark.server


@contextmanager
def _listen(answer):
    """Run a server on loopback with one answer. Yield its port and the received requests."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self):
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            received.append((self.command, self.path, dict(self.headers.items()), body))
            answer(self)

        do_GET = do_PUT = do_POST = do_CONNECT = _any  # noqa: N815 (http.server's names)

        def log_message(self, *_):
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_port, received
        finally:
            server.shutdown()


def _answer_ok(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def _hang_up(handler):
    handler.close_connection = True


def _run(base_url, work):
    async def body():
        transport = Transport(Access(base_url, Secret(KEY), "test", "test"))
        try:
            return await work(transport)
        finally:
            await transport.close()

    return asyncio.run(body())


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb.png?X-Credential=k%2F2026%2Fs3&sig=a%2Bb%3D%7E~", "/%61?x=%41+%20&&y", "/a;b,c?x=[1]"],
)
def test_a_signed_url_is_not_changed(path):
    """The encoded parts of a URL stay encoded, because a signature may depend on them."""
    with _listen(_answer_ok) as (port, received):

        async def work(transport):
            async with transport.files.stream(f"http://127.0.0.1:{port}{path}") as response:
                await response.aread()
            await transport.files.upload(
                f"http://127.0.0.1:{port}{path}", {"X-Signed": "yes"}, b"bytes"
            )

        _run(f"http://127.0.0.1:{port}", work)
    assert [(method, target) for method, target, *_ in received] == [("GET", path), ("PUT", path)]


def test_an_upload_has_no_other_headers():
    """A PUT has the given headers and those of HTTP, and none that aiohttp adds."""
    with _listen(_answer_ok) as (port, received):
        home, content = f"http://127.0.0.1:{port}", b"bytes" * 50_000
        _run(
            home,
            lambda transport: transport.files.upload(f"{home}/a", {"X-Signed": "yes"}, content),
        )
    ((_, _, headers, body),) = received
    assert body == content
    assert {name.lower() for name in headers} == {
        "accept", "accept-encoding", "connection", "content-length", "host", "user-agent",
        "x-signed",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["a\r\nb", "a\x00b", "ä"])
def test_an_invalid_header_of_an_upload(value):
    """If the service names a header that HTTP does not allow, the upload fails with an error."""
    with _listen(_answer_ok) as (port, received):
        home = f"http://127.0.0.1:{port}"

        async def work(transport):
            with pytest.raises(ConnectionFailedError) as caught:
                await transport.files.upload(f"{home}/a", {"X-Signed": value}, b"bytes")
            return caught.value

        error = _run(home, work)
    assert "could not be uploaded" in error.what
    assert received == []


def test_netrc_does_not_replace_the_key(tmp_path, monkeypatch):
    """A password in .netrc for the service's host is not sent. The key is."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with _listen(_answer_ok) as (port, received):
        _run(f"http://127.0.0.1:{port}", lambda transport: transport.request("GET", "/x"))
    assert [headers["Authorization"] for _, _, headers, _ in received] == [f"Bearer {KEY}"]


async def _note():
    """Stand for recording a request before it is sent."""


def test_a_post_whose_response_is_lost_may_have_arrived():
    """If a server closes the connection after a request, the request may have arrived."""
    with _listen(_hang_up) as (port, received):

        async def work(transport):
            with pytest.raises(ConnectionFailedError) as caught:
                await transport.request("POST", "/x", body=b"{}", before_send=_note)
            return caught.value

        error = _run(f"http://127.0.0.1:{port}", work)
    assert len(received) == 1
    assert (error.arrived, error.doubtful) == (True, True)


def test_a_proxy_is_used_for_the_network_with_its_own_password(monkeypatch):
    """HTTPS_PROXY gets CONNECT and its password, not the key. If it refuses, nothing was sent."""

    def refuse(handler):
        handler.send_response(403)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with _listen(refuse) as (port, received):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass%20word@127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        async def work(transport):
            with pytest.raises(ConnectionFailedError) as caught:
                await transport.request("POST", "/x", body=b"{}", before_send=_note)
            return caught.value

        error = _run("https://runapi.example", work)
    ((method, target, headers, _),) = received
    assert (method, target) == ("CONNECT", "runapi.example:443")
    assert headers["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    assert KEY not in str(headers)
    assert (error.arrived, error.doubtful) == (False, False)


def test_no_proxy_for_this_machine(monkeypatch):
    """Requests to a service on this machine do not use the proxy of the environment."""
    with _listen(_answer_ok) as (port, received):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        _run(f"http://127.0.0.1:{port}", lambda transport: transport.request("GET", "/x"))
    assert len(received) == 1


def _proxy(monkeypatch, address):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", address)


@pytest.mark.parametrize(
    "address",
    [
        "socks5://me:secret@127.0.0.1:9",
        "foo://me:secret@127.0.0.1:9",
        "http://me:secret@127.0.0.1:99999",
        "http://:8080",
    ],
)
def test_an_invalid_proxy_is_found_before_sending(monkeypatch, address):
    """The error comes before the request is recorded, and does not contain the proxy's password."""
    _proxy(monkeypatch, address)
    sent = []

    async def note():
        sent.append(True)

    async def work(transport):
        with pytest.raises(ConfigurationError) as caught:
            await transport.prepare()
        with pytest.raises(ConfigurationError):
            await transport.request("POST", "/x", body=b"{}", before_send=note)
        with pytest.raises(ConfigurationError):
            await transport.request("GET", "/x")
        with pytest.raises(DownloadError) as broken:
            async with transport.files.stream("https://files.example/a.png"):
                pass
        return caught.value, broken.value

    error, broken = _run("https://runapi.example", work)
    assert sent == []
    assert not error.doubtful
    assert "proxy" in error.what
    assert "secret" not in str(error)
    assert not broken.temporary
    assert "Nothing was sent" not in str(broken)


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 70}.example"])
def test_an_invalid_host_name(monkeypatch, host):
    """An invalid host name fails before connecting, so nothing may have been charged."""
    _proxy(monkeypatch, "")

    async def work(transport):
        with pytest.raises(ConnectionFailedError) as caught:
            await transport.request("POST", "/x", body=b"{}", before_send=_note)
        return caught.value

    error = _run(f"https://{host}", work)
    assert (error.arrived, error.doubtful) == (False, False)
