"""Errors for untrusted certificates, and the variables that name trusted ones."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import (
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    DownloadError,
)
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

_FIRST = datetime(2019, 1, 1, tzinfo=UTC)
_LAST = datetime(2020, 1, 1, tzinfo=UTC)
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority():
    """Return a certificate authority that this machine does not trust."""
    return trustme.CA()


@contextmanager
def _serve(certificate):
    """Answer every request on loopback over TLS.

    Yield the base URL, the paths of the received requests and the names of the TLS handshakes.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    handshakes, received = [], []
    context.sni_callback = lambda _socket, name, _context: handshakes.append(name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = _any  # noqa: N815 (http.server's names)

        def log_message(self, *_):
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # the client closes the connection
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"https://localhost:{server.server_port}", received, handshakes
        finally:
            server.shutdown()


def _run(base_url, work):
    async def main():
        transport = Transport(Access(base_url, Secret(KEY), "test", "test"))
        try:
            return await asyncio.wait_for(work(transport), 30)
        finally:
            await transport.close()

    return asyncio.run(main())


async def _note():
    """Stand for recording a request before it is sent."""


def _post(transport):
    return transport.request("POST", "/x", body=b"{}", idempotency_key="key", before_send=_note)


def _refused(base_url, work, kind):
    async def body(transport):
        with pytest.raises(kind) as caught:
            await work(transport)
        return caught.value

    return _run(base_url, body)


def test_an_untrusted_certificate_is_named_after_one_try(authority):
    """A POST to a host with an unknown authority fails at once, and was not sent."""
    with _serve(authority.issue_cert("localhost")) as (url, received, handshakes):
        error = _refused(url, _post, CertificateError)
    assert "certificate of localhost is not trusted" in error.what
    assert "SSL_CERT_FILE" in error.todo
    assert "REQUESTS_CA_BUNDLE" in error.todo
    assert (error.arrived, error.doubtful) == (False, False)
    assert received == []
    assert len(handshakes) == 1


def test_a_download_and_an_upload_name_the_certificate_too(authority, tmp_path):
    """Errors of downloads and uploads also name the certificate as the cause."""
    with _serve(authority.issue_cert("localhost")) as (url, received, _):

        def download(transport):
            into = tmp_path / "part"
            return Client(transport).download(f"{url}/a.png", into, max_megabytes=1)

        fetching = _refused(url, download, DownloadError)
        sending = _refused(
            url, lambda to: to.files.upload(f"{url}/a", {}, b"x"), ConnectionFailedError
        )
    assert "certificate of localhost is not trusted" in fetching.what
    assert "%runapi resume" in fetching.todo
    assert not fetching.temporary
    assert "certificate of localhost is not trusted" in sending.what
    assert received == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda ca: ca.issue_cert("other.example"), "is for another host"),
        (
            lambda ca: ca.issue_cert("localhost", not_before=_FIRST, not_after=_LAST),
            "has expired",
        ),
    ],
    ids=["another host", "expired"],
)
def test_other_invalid_certificates(authority, tmp_path, monkeypatch, make, words):
    """A certificate for another host and an expired one have their own messages."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with _serve(make(authority)) as (url, _, _):
        error = _refused(url, _post, CertificateError)
    assert words in error.what


@pytest.mark.parametrize("variable", _VARIABLES)
def test_each_variable_is_read(authority, tmp_path, monkeypatch, variable):
    """An authority in one of the variables is trusted."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    subprocess.run(["openssl", "rehash", folder], check=True)  # names the files as OpenSSL expects
    monkeypatch.setenv(variable, str(folder if variable == "SSL_CERT_DIR" else path))
    with _serve(authority.issue_cert("localhost")) as (url, received, _):
        _run(url, _post)
    assert received == ["/x"]


def test_two_variables_are_trusted_together(authority, tmp_path, monkeypatch):
    """Authorities in REQUESTS_CA_BUNDLE and in SSL_CERT_FILE are trusted together."""
    for variable, ca in (("SSL_CERT_FILE", trustme.CA()), ("REQUESTS_CA_BUNDLE", authority)):
        ca.cert_pem.write_to_path(str(tmp_path / variable))
        monkeypatch.setenv(variable, str(tmp_path / variable))
    with _serve(authority.issue_cert("localhost")) as (url, received, _):
        _run(url, _post)
    assert received == ["/x"]


@pytest.mark.parametrize("variable", _VARIABLES)
@pytest.mark.parametrize("exists", [False, True], ids=["missing", "not certificates"])
def test_an_invalid_variable_is_found_before_sending(
    service, tmp_path, monkeypatch, variable, exists
):
    """The journal does not record such a request as sent, so resuming does not pay for it."""
    path = tmp_path / "nowhere.pem"
    if exists:
        path.write_text("no certificate")
    monkeypatch.setenv(variable, str(path))

    async def body():
        session = Session(Settings(base_url=service.url, api_key=KEY))
        generation = session.generate("a fox")
        await generation.ended()
        (error,) = generation.errors
        rest = session.journal.unfinished()
        session.journal.close()
        return error, rest

    error, rest = asyncio.run(body())
    assert isinstance(error, ConfigurationError)
    assert variable in error.what
    assert "Nothing was sent" in error.charged
    assert rest == []
    assert service.tasks == []


def test_resuming_without_certificates(service, tmp_path, monkeypatch):
    """Resuming a request without a response fails before sending, and can be done later."""
    service.fault("create=drop_after")

    async def ask():
        session = Session(Settings(base_url=service.url, api_key=KEY))
        generation = session.generate("a fox")
        await generation.ended()
        await session.service().client.transport.close()
        session.journal.close()
        return generation.errors

    async def resume():
        session = Session(Settings(base_url=service.url, api_key=KEY))
        generation = resume_tasks(session)
        await generation.ended()
        await session.service().client.transport.close()
        rest = session.journal.unfinished()
        session.journal.close()
        return generation, rest

    assert asyncio.run(ask())[0].doubtful
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    refused, rest = asyncio.run(resume())
    assert [error.doubtful for error in refused.errors] == [True]
    assert "SSL_CERT_FILE" in refused.errors[0].todo
    assert len(rest) == 1


def test_two_loops_upload_one_source(scripted, png, tmp_path):
    """A second ``asyncio.run`` can upload the source again, although the first one had a lock."""
    server = scripted()
    moment = "2026-01-01T00:00:00+00:00"  # it expires as soon as it is uploaded
    prepared = {"upload_url": f"{server.url}/store", "headers": {}, "signed_id": "s"}
    confirmed = {"url": f"{server.url}/up", "created_at": moment, "expires_at": moment}
    server.answers = {
        "POST /api/v1/files/prepare": [(200, {}, prepared)],
        "PUT /store": [(200, {}, b"")],
        "POST /api/v1/files/confirm": [(200, {}, confirmed)],
    }
    (tmp_path / "a.png").write_bytes(png)
    session = Session(Settings(base_url=server.url, api_key=KEY))
    service = session.service()
    source = as_source(str(tmp_path / "a.png"))

    async def twice():
        urls = await asyncio.gather(service.url_of(source), service.url_of(source))
        await service.client.transport.close()
        return urls

    for _ in range(2):
        assert asyncio.run(twice()) == [f"{server.url}/up"] * 2
