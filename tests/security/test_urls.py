"""URLs from the service: which are downloaded, which are refused, and which receive the key."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import pytest
import trustme

from runapi_magic.errors import APIError, DownloadError, RunAPIError, UnsafeURLError
from runapi_magic.http.client import Attempt, Client
from tests.conftest import KEY
from tests.security.conftest import PUBLIC, SERVICE, named_url

GOOD = "https://files.example/a.png"
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def fetch(run, tmp_path):
    """Download a URL. Return the image type or the error."""

    def call(url, base_url=SERVICE, most=128):
        async def body(transport):
            return await Client(transport).download(url, tmp_path / "part", max_megabytes=most)

        return run(body, base_url)

    return call


@pytest.fixture
def served(network, make_image):
    """Make every URL an image, so that only a check can refuse it."""

    class Everything(dict):
        def get(self, _url, _default=None):
            return httpx.Response(200, content=make_image())

    network.responses = Everything()
    return network


def test_a_valid_url_is_downloaded(served, fetch):
    """An image on a public host is downloaded over https, without the key."""
    assert fetch(GOOD) == "png"
    assert served.with_key() == []


REFUSED = {
    "plain http": "http://files.example/a.png",
    "plain http to this machine": "http://127.0.0.1/a.png",
    "plain http to localhost": "http://localhost/a.png",
    "ftp": "ftp://files.example/a.png",
    "file": "file:///etc/passwd",
    "data": "data:image/png;base64,AAAA",
    "javascript": "javascript:alert(1)",
    "gopher": "gopher://files.example/",
    "no scheme": "//files.example/a.png",
    "no host": "https:///a.png",
    "relative": "/a.png",
    "nothing": "",
    "user": "https://user@files.example/a.png",
    "user and password": "https://user:password@files.example/a.png",
    "empty user": "https://:password@files.example/a.png",
    "backslash": "https://files.example\\@127.0.0.1/a.png",
    "bad port": "https://files.example:port/a.png",
    "port out of range": "https://files.example:99999/a.png",
    "bracket": "https://[::1/a.png",
    "control character": "https://files.example/\x00",
    "line feed": "https://files.example/\n",
    "blank in the host": "https://files. example/",
    "a label too long": f"https://{'a' * 64}.example/",
    "an empty label": "https://files..example/",
    "loopback": "https://127.0.0.1/a.png",
    "loopback, another": "https://127.8.9.10/a.png",
    "loopback, short": "https://127.1/a.png",
    "loopback, decimal": "https://2130706433/a.png",
    "loopback, hex": "https://0x7f000001/a.png",
    "loopback, dotted hex": "https://0x7f.0.0.1/a.png",
    "loopback, octal": "https://0177.0.0.1/a.png",
    "loopback, long octal": "https://017700000001/a.png",
    "loopback, wide digits": "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/a.png",
    "loopback, trailing dot": "https://127.0.0.1./a.png",
    "nowhere": "https://0.0.0.0/a.png",
    "nowhere, short": "https://0/a.png",
    "private 10": "https://10.0.0.1/a.png",
    "private 172": "https://172.16.0.1/a.png",
    "private 192": "https://192.168.1.1/a.png",
    "carrier": "https://100.64.0.1/a.png",
    "link-local": "https://169.254.10.10/a.png",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata, decimal": "https://2852039166/",
    "broadcast": "https://255.255.255.255/",
    "multicast": "https://224.0.0.1/",
    "reserved": "https://240.0.0.1/",
    "documentation": "https://192.0.2.1/",
    "IPv6 loopback": "https://[::1]/a.png",
    "IPv6 nowhere": "https://[::]/a.png",
    "IPv6 loopback, long": "https://[0:0:0:0:0:0:0:1]/a.png",
    "IPv6 link-local": "https://[fe80::1]/a.png",
    "IPv6 link-local with a zone": "https://[fe80::1%25lo]/a.png",
    "IPv6 unique local": "https://[fd00::1]/a.png",
    "IPv6 site local": "https://[fec0::1]/a.png",
    "IPv6 multicast": "https://[ff02::1]/a.png",
    "IPv6 metadata": "https://[fd00:ec2::254]/a.png",
    "IPv4-mapped loopback": "https://[::ffff:127.0.0.1]/a.png",
    "IPv4-mapped private": "https://[::ffff:10.0.0.1]/a.png",
    "IPv4-mapped, hex": "https://[::ffff:7f00:1]/a.png",
    "IPv4-compatible loopback": "https://[::127.0.0.1]/a.png",
    "6to4 of a private one": "https://[2002:0a00:0001::1]/a.png",
    "NAT64 of a private one": "https://[64:ff9b::10.0.0.1]/a.png",
    "Teredo": "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/a.png",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_refused_with_a_public_service(served, fetch, url):
    """A public service cannot make this machine request such a URL. Nothing is sent."""
    error = fetch(url)
    assert isinstance(error, UnsafeURLError | DownloadError), repr(error)
    assert served.requests == []


RESOLVED = {
    "loopback": ["127.0.0.1"],
    "private": ["10.1.2.3"],
    "link-local": ["169.254.169.254"],
    "IPv6 loopback": ["::1"],
    "IPv6 unique local": ["fd12::1"],
    "IPv4-mapped": ["::ffff:192.168.0.1"],
    "public first, then private": [PUBLIC, "10.0.0.1"],
    "private first, then public": ["10.0.0.1", PUBLIC],
    "public, and IPv6 loopback": [PUBLIC, "::1"],
    "nothing": [],
}


@pytest.mark.parametrize("addresses", RESOLVED.values(), ids=RESOLVED)
def test_names_with_a_private_address_are_refused(served, dns, fetch, addresses):
    """A host name is refused if any of its addresses is private."""
    dns["evil.example"] = addresses
    error = fetch("https://evil.example/a.png")
    assert isinstance(error, UnsafeURLError | DownloadError), repr(error)
    assert served.requests == []


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_names_with_public_addresses_are_allowed(served, dns, fetch, address):
    """The address can be IPv4, IPv6, or IPv4 through an IPv6-only network."""
    dns["cdn.example"] = [address]
    assert fetch("https://cdn.example/a.png") == "png"


def test_an_unknown_host_is_named(served, fetch):
    """An unknown host is a DownloadError that names the host."""
    error = fetch("https://nobody.example/a.png")
    assert isinstance(error, DownloadError)
    assert "nobody.example" in error.what


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8001", True),
        ("localhost:9000", True),
        ("[::1]:9000", True),
        ("simulator.localhost", True),
        ("10.0.0.1", False),
        ("192.168.1.1:8000", False),
        ("169.254.169.254", False),
        ("files.example", False),
        ("127.0.0.1.files.example", False),
        ("localhost.files.example", False),
        ("2130706433", False),
    ],
)
def test_plain_http_stays_on_this_machine(served, fetch, host, allowed):
    """A local service may serve images over http from this machine only."""
    found = fetch(f"http://{host}/a.png", LOCAL)
    assert (found == "png") is allowed
    assert isinstance(found, str | UnsafeURLError)
    assert len(served.requests) == int(allowed)


# Redirects


def _chain(network, make_image, *urls):
    """Make each URL redirect to the next, and the last one an image."""
    for url, following in pairwise(urls):
        network.responses[url] = httpx.Response(302, headers={"location": following})
    network.responses[urls[-1]] = httpx.Response(200, content=make_image())


def _urls(count):
    return [f"https://files.example/{number}" for number in range(count + 1)]


@pytest.mark.parametrize(("redirects", "allowed"), [(1, True), (2, True), (3, True), (4, False)])
def test_three_redirects_are_followed(network, fetch, make_image, redirects, allowed):
    """Three redirects are followed, four are an error."""
    _chain(network, make_image, *_urls(redirects))
    found = fetch(_urls(0)[0])
    assert (found == "png") is allowed
    assert isinstance(found, str | DownloadError)
    assert len(network.requests) <= 4
    assert network.with_key() == []


def test_a_redirect_loop_ends(network, fetch, make_image):
    """A URL that redirects to itself ends in an error after four requests."""
    network.responses[GOOD] = httpx.Response(302, headers={"location": GOOD})
    assert isinstance(fetch(GOOD), DownloadError)
    assert len(network.requests) == 4


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("at", [1, 3])
def test_every_redirect_is_checked(network, fetch, make_image, url, at):
    """A forbidden URL is also refused after a valid one."""
    urls = _urls(at)
    _chain(network, make_image, *urls[:-1], urls[at])
    last = urls[at - 1]
    network.responses[last] = httpx.Response(302, headers=[(b"location", url.encode())])
    expected = {*urls}
    found = fetch(urls[0])
    assert isinstance(found, RunAPIError), repr(found)
    outside = {str(named_url(request)) for request in network.requests} - expected
    assert {httpx.URL(address).host for address in outside} <= {"files.example"}


def test_a_redirect_to_a_relative_address(network, fetch, make_image):
    """A redirect to a path stays on the same host, over https."""
    network.responses[GOOD] = httpx.Response(302, headers={"location": "../b.png"})
    network.responses["https://files.example/b.png"] = httpx.Response(200, content=make_image())
    assert fetch(GOOD) == "png"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_without_a_location(network, fetch, status):
    """A redirect without a Location ends in a RunAPIError."""
    network.responses[GOOD] = httpx.Response(status)
    assert isinstance(fetch(GOOD), RunAPIError)
    assert len(network.requests) <= 4


# DNS rebinding


def test_a_name_is_resolved_once(run, tmp_path, monkeypatch):
    """A host is not connected to if its address is public in the check and private afterwards."""
    lookups = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]]
    real = socket.getaddrinfo
    tried = []

    async def getaddrinfo(_loop, host, port, **_):
        name = host.decode() if isinstance(host, bytes) else host
        if name == "rebind.example":
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in lookups.pop(0)
            ]
        return real(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    async def connect(_loop, _socket, address):
        tried.append(address[0])
        raise OSError("no connection leaves this test")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", connect)

    async def body(transport):
        return await Client(transport).download(
            "https://rebind.example/a.png", tmp_path / "part", max_megabytes=1
        )

    assert isinstance(run(body), RunAPIError)
    assert set(tried) <= {PUBLIC}


@contextmanager
def _serve_tls(authority, names, content):
    """Serve content on loopback over TLS under these names. Yield the port and requested names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    requested = []
    context.sni_callback = lambda _socket, name, _context: requested.append(name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # clients that refuse the certificate disconnect
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_port, requested
        finally:
            server.shutdown()


def test_another_address_is_tried(dns, run, tmp_path, make_image, monkeypatch):
    """If one address of a host cannot be reached, the image is downloaded from another one."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("runapi_magic.http.certificates.create_tls_context", lambda: trusting)
    unreachable = "93.184.216.35"
    dns["files.example"] = [unreachable, PUBLIC]
    real = BaseSelectorEventLoop.sock_connect

    with _serve_tls(authority, ["files.example"], make_image()) as (port, _):

        async def connect(loop, sock, address):
            if address[0] == unreachable:
                raise OSError(errno.ENETUNREACH, "Network is unreachable")
            return await real(loop, sock, ("127.0.0.1", port))

        monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", connect)

        async def body(transport):
            return await Client(transport).download(GOOD, tmp_path / "part", max_megabytes=1)

        assert run(body) == "png"


def test_certificates_are_checked_by_name(dns, run, tmp_path, make_image, monkeypatch):
    """Each host is connected to at its checked address. The certificate must match the name."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("runapi_magic.http.certificates.create_tls_context", lambda: trusting)
    hosts = ["one.example", "two.example", "other.example"]
    dns.update({host: [PUBLIC] for host in hosts})
    real = BaseSelectorEventLoop.sock_connect
    connected = []

    with _serve_tls(authority, hosts[:2], make_image()) as (port, requested):

        async def connect(loop, sock, address):
            connected.append(address[0])
            return await real(loop, sock, ("127.0.0.1", port))

        monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", connect)

        async def body(transport):
            found = []
            for host in hosts:
                url, path = f"https://{host}/a.png", tmp_path / "part"
                try:
                    found.append(await Client(transport).download(url, path, max_megabytes=1))
                except DownloadError as error:
                    found.append(error)
            await transport.close()
            return found

        first, second, other = run(body)
    assert (first, second) == ("png", "png")
    assert isinstance(other, DownloadError)
    assert set(connected) == {PUBLIC}
    assert set(requested) == set(hosts)


# The key


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", ["https://evil.example/x", "/other", "http://runapi.ai/x"])
def test_no_redirect_is_followed_with_the_key(network, run, status, method, target):
    """A redirect of a request with the key is an error, whatever its target."""
    url = f"{SERVICE}/api/v1/x"
    network.responses[url] = httpx.Response(status, headers={"location": target})
    body = b"{}" if method == "POST" else None
    error = run(lambda transport: transport.request(method, "/api/v1/x", body=body))
    assert isinstance(error, APIError)
    assert [str(named_url(request)) for request in network.requests] == [url]


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/x",
        "http://runapi.ai/x",
        "https://runapi.ai:8443/x",
        "https://runapi.ai.evil.example/x",
        "https://runapi.ai@evil.example/x",
        "https://evil.example\\@runapi.ai/x",
        "//evil.example/x",
        "\\\\evil.example\\x",
        "https:evil.example",
        "https://runapi.ai\x00.evil.example/",
        "https://[/x",
        "ftp://runapi.ai/x",
        "https://",
        "https://runapi.ai:port/x",
    ],
)
def test_the_key_goes_to_one_origin(network, run, address):
    """For any URL, the key is sent only to the configured origin."""
    run(lambda transport: transport.request("GET", address))
    elsewhere = [
        request for request in network.requests
        if (request.url.scheme, request.url.host, request.url.port) != ("https", "runapi.ai", None)
    ]  # fmt: skip
    assert elsewhere == []


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/api/v1/tasks/t", "//evil.example/t", "http://runapi.ai/t", "https://["],
)
def test_a_foreign_location_is_not_polled(network, run, location):
    """A Location on another origin is ignored. The usual paths are polled."""
    paths = ("/api/v1/gpt_image_2/text_to_image/{id}",)
    create = f"{SERVICE}/api/v1/gpt_image_2/text_to_image"
    network.responses[create] = httpx.Response(
        202, json={"id": "t"}, headers={"location": location}
    )

    async def body(transport):
        attempt = Attempt("k", "namespaced", "/api/v1/gpt_image_2/text_to_image", b"{}", paths)
        return await Client(transport).post(attempt)

    created = run(body)
    assert created.status_paths == ("/api/v1/gpt_image_2/text_to_image/t",)


@pytest.mark.parametrize("url", ["https://store.example/put", f"{SERVICE}/put"])
def test_an_upload_does_not_send_the_key(network, dns, run, url):
    """The PUT has exactly the returned headers, and not the key."""
    dns["store.example"] = [PUBLIC]
    network.responses[url] = httpx.Response(204)
    run(lambda transport: transport.files.upload(url, {"X-Token": "t"}, b"bytes"))
    (request,) = network.requests
    assert request.headers["x-token"] == "t"
    assert network.with_key() == []


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_uploads_follow_the_same_rules(served, run, url):
    """A public service cannot make this machine send an image into a private network."""
    error = run(lambda transport: transport.files.upload(url, {}, b"bytes"))
    assert isinstance(error, RunAPIError), repr(error)
    assert served.requests == []


def test_an_upload_is_not_redirected(network, run):
    """A redirect of a PUT is an error. The bytes are sent only once."""
    network.responses[GOOD] = httpx.Response(307, headers={"location": "https://evil.example/"})
    assert isinstance(
        run(lambda transport: transport.files.upload(GOOD, {}, b"bytes")), RunAPIError
    )
    assert len(network.requests) == 1


def test_a_download_from_the_service_does_not_send_the_key(network, fetch, make_image):
    """An image on the service's own origin is also downloaded without the key."""
    network.responses[f"{SERVICE}/a.png"] = httpx.Response(200, content=make_image())
    assert fetch(f"{SERVICE}/a.png") == "png"
    assert network.with_key() == []


def test_the_key_is_removed_from_responses(network, run):
    """If a service repeats the key in a header or a body, it is removed there."""
    network.responses[f"{SERVICE}/x"] = httpx.Response(
        200, text=f"the key is {KEY}", headers={"x-request-id": KEY, "location": f"/{KEY}"}
    )
    response = run(lambda transport: transport.request("GET", "/x"))
    assert KEY not in repr(response)


def test_a_cookie_is_not_kept(network, run):
    """A cookie of the service is not sent with an upload."""
    network.responses[f"{SERVICE}/x"] = httpx.Response(200, headers={"set-cookie": "a=b"})
    network.responses[GOOD] = httpx.Response(204)

    async def body(transport):
        await transport.request("GET", "/x")
        await transport.files.upload(GOOD, {}, b"")

    run(body)
    assert "cookie" not in network.requests[-1].headers
