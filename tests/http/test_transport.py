"""What leaves this machine: addresses as given, the key and no other password, proxies."""

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
    """Run a server on loopback that answers as told; yield its port and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self):
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            asked.append((self.command, self.path, dict(self.headers.items()), body))
            answer(self)

        do_GET = do_PUT = do_POST = do_CONNECT = _any  # noqa: N815 (the names of http.server)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()


def _say_ok(handler):
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
def test_a_signed_address_is_sent_as_given(path):
    """What an address has encoded stays encoded: a signature may be over just these letters."""
    with _listen(_say_ok) as (port, asked):

        async def work(transport):
            async with transport.files.stream(f"http://127.0.0.1:{port}{path}") as response:
                await response.aread()
            await transport.files.upload(
                f"http://127.0.0.1:{port}{path}", {"X-Signed": "yes"}, b"bytes"
            )

        _run(f"http://127.0.0.1:{port}", work)
    assert [(method, target) for method, target, *_ in asked] == [("GET", path), ("PUT", path)]


def test_an_upload_has_no_header_that_was_not_given():
    """A PUT has the headers that were given, those of HTTP itself, and nothing of aiohttp's."""
    with _listen(_say_ok) as (port, asked):
        home, content = f"http://127.0.0.1:{port}", b"bytes" * 50_000
        _run(
            home,
            lambda transport: transport.files.upload(f"{home}/a", {"X-Signed": "yes"}, content),
        )
    ((_, _, headers, body),) = asked
    assert body == content
    assert {name.lower() for name in headers} == {
        "accept", "accept-encoding", "connection", "content-length", "host", "user-agent",
        "x-signed",
    }  # fmt: skip


def test_netrc_does_not_replace_the_key(tmp_path, monkeypatch):
    """A password for the service's host in .netrc is not sent; the key is."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with _listen(_say_ok) as (port, asked):
        _run(f"http://127.0.0.1:{port}", lambda transport: transport.request("GET", "/x"))
    assert [headers["Authorization"] for _, _, headers, _ in asked] == [f"Bearer {KEY}"]


async def _note():
    """What is paid is noted before it leaves."""


def test_a_post_whose_answer_is_lost_may_have_arrived():
    """A server that takes a request and hangs up: that is no connection that was never made."""
    with _listen(_hang_up) as (port, asked):

        async def work(transport):
            with pytest.raises(ConnectionFailedError) as caught:
                await transport.request("POST", "/x", body=b"{}", before_send=_note)
            return caught.value

        error = _run(f"http://127.0.0.1:{port}", work)
    assert len(asked) == 1
    assert (error.arrived, error.doubtful) == (True, True)


def test_a_proxy_is_used_for_the_network_with_its_own_password(monkeypatch):
    """HTTPS_PROXY gets CONNECT and its password, never the key; its refusal means: not sent."""

    def refuse(handler):
        handler.send_response(403)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with _listen(refuse) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass%20word@127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        async def work(transport):
            with pytest.raises(ConnectionFailedError) as caught:
                await transport.request("POST", "/x", body=b"{}", before_send=_note)
            return caught.value

        error = _run("https://runapi.example", work)
    ((method, target, headers, _),) = asked
    assert (method, target) == ("CONNECT", "runapi.example:443")
    assert headers["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    assert KEY not in str(headers)
    assert (error.arrived, error.doubtful) == (False, False)


def test_no_proxy_for_this_machine(monkeypatch):
    """A service on this machine is asked directly, whatever the environment names as a proxy."""
    with _listen(_say_ok) as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        _run(f"http://127.0.0.1:{port}", lambda transport: transport.request("GET", "/x"))
    assert len(asked) == 1


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
def test_a_proxy_that_is_unusable_is_found_before_sending(monkeypatch, address):
    """No row says "sent", and the error names the cause without the proxy's password."""
    _proxy(monkeypatch, address)
    left = []

    async def note():
        left.append(True)

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
    assert left == []
    assert not error.doubtful
    assert "proxy" in error.what
    assert "secret" not in str(error)
    assert not broken.temporary
    assert "Nothing was sent" not in str(broken)


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 70}.example"])
def test_a_host_that_cannot_be_written_as_a_name_may_not_have_been_reached(monkeypatch, host):
    """Such an address fails before a connection is made, so nothing may have been charged."""
    _proxy(monkeypatch, "")

    async def work(transport):
        with pytest.raises(ConnectionFailedError) as caught:
            await transport.request("POST", "/x", body=b"{}", before_send=_note)
        return caught.value

    error = _run(f"https://{host}", work)
    assert (error.arrived, error.doubtful) == (False, False)
