"""Bodies that are too long, too slow or compressed: what is read, and the errors."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.errors import ConnectionFailedError, DownloadError
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

pytestmark = pytest.mark.server


@pytest.fixture
def short_limits(monkeypatch):
    """Make the limits for slow bodies very short."""
    monkeypatch.setattr("runapi_magic.http.response_body._GRACE", 0.2)
    monkeypatch.setattr("runapi_magic.http.response_body._TICK", 0.05)


@contextmanager
def _listen(write, encoding="identity", length=None):
    """Run a server whose bodies a function writes. Yield its URL and the headers of requests."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            received.append(dict(self.headers.items()))
            self.send_response(200)
            self.send_header("Content-Encoding", encoding)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            write(self.wfile)

        do_GET = do_POST = do_PUT = _any  # noqa: N815 (http.server's names)

        def log_message(self, *_):
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()


def _run(url, work):
    async def main():
        transport = Transport(Access(url, Secret(KEY), "test", "test"))
        try:
            return await asyncio.wait_for(work(transport), 30)
        finally:
            await transport.close()

    return asyncio.run(main())


def _get(transport):
    return transport.request("GET", "/x", timeout=0.0)


def _download(transport, into, megabytes=1):
    url = f"{transport.access.base_url}/a.png"
    return Client(transport).download(url, into, max_megabytes=megabytes)


def _refused(url, work, kind):
    async def body(transport):
        with pytest.raises(kind) as caught:
            await work(transport)
        return caught.value

    return _run(url, body)


def _endless(closed):
    def write(file):
        try:
            while True:
                file.write(b" " * 65536)
        except OSError:  # the client closed the connection
            closed.set()

    return write


def _drip(stop):
    def write(file):
        file.write(b"\x89PNG\r\n\x1a\n")
        file.flush()
        stop.wait(30)

    return write


def test_an_endless_response_stops_at_the_limit():
    """After 8 MB of a response, the connection is closed with an error."""
    closed = threading.Event()
    with _listen(_endless(closed)) as (url, _):
        error = _refused(url, _get, ConnectionFailedError)
        assert closed.wait(30)
    assert "larger than 8 MB" in error.what
    assert error.arrived


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_response_counts_decompressed(encoding):
    """A compressed response of 100 kB that expands to 100 MB stops at the limit."""
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    bomb = pack(b" " * 100_000_000)
    with _listen(lambda file: file.write(bomb), encoding) as (url, _):
        error = _refused(url, _get, ConnectionFailedError)
    assert "larger than 8 MB" in error.what


def test_a_compressed_image_counts_decompressed(tmp_path):
    """A compressed download stops at the largest allowed image, counted as it is written."""
    bomb = gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(50_000_000))
    with _listen(lambda file: file.write(bomb), "gzip") as (url, _):
        error = _refused(url, lambda to: _download(to, tmp_path / "part"), DownloadError)
    assert "larger than 1 MB" in error.what
    assert (tmp_path / "part").stat().st_size <= 1_000_000


def test_a_compressed_response_is_read():
    """A gzip response is read, and requests accept gzip only."""
    with _listen(lambda file: file.write(gzip.compress(b'{"a": 1}')), "gzip") as (url, received):
        answer = _run(url, _get)
    assert answer.json() == {"a": 1}
    assert received[0]["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("encoding", "words"), [("br", "encoded as br"), ("gzip", "damaged"), ("gzip, gzip", "encoded")]
)
def test_unreadable_encodings(tmp_path, encoding, words):
    """A wrong or damaged encoding of a response or an image is named in the error."""
    with _listen(lambda file: file.write(b"not packed"), encoding) as (url, _):
        answer = _refused(url, _get, ConnectionFailedError)
        image = _refused(url, lambda to: _download(to, tmp_path / "part"), DownloadError)
    assert words in answer.what
    assert words in image.what


def test_a_stalled_download_fails(tmp_path, short_limits):
    """A download that stalls after its first bytes fails with an error, and may be retried."""
    stop = threading.Event()
    with _listen(_drip(stop), length=1000) as (url, _):
        error = _refused(url, lambda to: _download(to, tmp_path / "part"), DownloadError)
        stop.set()
    assert "too slowly" in error.what
    assert error.temporary


def test_stalled_responses_fail(short_limits):
    """A response of the service and one of the file storage that stall fail with an error."""
    stop = threading.Event()
    with _listen(_drip(stop), length=1000) as (url, _):
        answer = _refused(url, _get, ConnectionFailedError)
        upload = _refused(
            url, lambda to: to.files.upload(f"{url}/a", {}, b"x"), ConnectionFailedError
        )
        stop.set()
    assert "too slowly" in answer.what
    assert "too slowly" in upload.what


def test_time_in_which_a_cell_blocks_the_loop_does_not_count(short_limits):
    """If the loop is blocked for longer than the limit, the response is still read."""
    go = threading.Event()

    def write(file):
        go.wait(30)
        file.write(b"{}")

    async def work(transport):
        asking = asyncio.ensure_future(_get(transport))
        await asyncio.sleep(0.01)
        time.sleep(0.6)  # noqa: ASYNC251 (a long cell)
        go.set()
        return await asking

    with _listen(write) as (url, _):
        assert _run(url, work).json() == {}
