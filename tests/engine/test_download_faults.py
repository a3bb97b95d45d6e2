"""Faults while images are downloaded: nothing is paid for twice, and no image is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.engine.image_store import download_each
from runapi_magic.errors import (
    DownloadError,
    UnsafeURLError,
)
from runapi_magic.http.results import PolledTask
from runapi_magic.http.transport import Transport
from tests.engine.answers import SDK, SOON, done

pytestmark = pytest.mark.server

DAMAGES = ["truncated", "corrupt", "html", "drop", "500", "410", "redirect_foreign", "empty"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_failed_download(service, make, damage):
    """A damaged download is retried, and the complete image is saved."""
    service.fault(f"download={damage},times=1")
    image = make(service).image
    assert image.pil().size == image.size
    assert [file.name for file in image.path.parent.iterdir()] == [image.path.name]
    assert len(service.tasks) == 1


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "html", "404"])
def test_repeated_failed_downloads(service, fail, damage):
    """If all downloads fail, the task was charged, and the error says how to resume it."""
    service.fault(f"download={damage}")
    _, error, row = fail(service)
    assert type(error) is DownloadError
    assert error.charged == "The task was completed, so it was charged."
    assert f"%runapi resume {service.tasks[0]['id']}" in error.todo
    assert error.task_id == service.tasks[0]["id"]
    assert row.state == "completed"


def test_no_partial_file_is_left(service, fail, tmp_path):
    """After failed downloads the image folder is empty."""
    service.fault("download=truncated")
    fail(service)
    assert list((tmp_path / "work/gpt-images").iterdir()) == []


def test_a_download_with_a_false_length(service, fail):
    """A download that announces gigabytes but sends little ends with an error."""
    service.fault("download=huge")
    _, error, _ = fail(service)
    assert type(error) is DownloadError
    assert "was interrupted" in error.what


def test_a_download_larger_than_allowed(scripted, fail, png):
    """The error of a download above the limit names the limit and the setting."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [done(server, "a")], "GET /a": [(200, {}, png + bytes(1_100_000))],
    }  # fmt: skip
    _, error, _ = fail(server, max_download_mb=1)
    assert "larger than 1 MB" in error.what
    assert "max_download_mb" in error.todo


def test_redirects_of_a_download(scripted, make, png):
    """A download follows a few redirects."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [done(server, "a")],
        "GET /a": [(302, {"Location": "/b"}, b"")],
        "GET /b": [(307, {"Location": f"{server.url}/c"}, b"")],
        "GET /c": [(200, {}, png)],
    }
    assert make(server).image.size == (8, 6)


@pytest.mark.parametrize("location", ["/a", "", "http://[", "ftp://x/y", "file:///etc/passwd",
                                      "http://example.com/x", "http://10.0.0.1/x"])  # fmt: skip
def test_invalid_redirects(scripted, fail, location):
    """A redirect in a circle or to a forbidden URL ends with an error."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [done(server, "a")], "GET /a": [(302, {"Location": location}, b"")],
    }  # fmt: skip
    _, error, _ = fail(server)
    assert type(error) in {DownloadError, UnsafeURLError}
    assert "Not charged" not in error.charged
    assert error.todo


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/y", "http://example.com/x", "http://10.0.0.1/x", "//", "x y",
     "http://[", "data:image/png;base64,AAAA", "https://user:pw@127.0.0.1/x", "http://\x00/"],
)  # fmt: skip
def test_invalid_image_urls(scripted, fail, url):
    """An invalid image URL ends with an error, and the task can be resumed."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [
        (200, {}, {"id": "tsk_1", "status": "completed", "images": [url]})
    ]
    _, error, row = fail(server)
    assert type(error) in {DownloadError, UnsafeURLError}
    assert "Not charged" not in error.charged
    assert row.state == "completed"


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://10.0.0.1/x", "https://192.168.1.1/x", "https://172.16.0.1/x",
     "https://169.254.169.254/latest", "https://[::1]/x", "https://[fe80::1]/x", "https://0.0.0.0/",
     "https://localhost/x", "https://[::ffff:10.0.0.1]/x", "https://100.64.0.1/x",
     "http://8.8.8.8/x", "ftp://8.8.8.8/x", "https://user@8.8.8.8/x", "https://8.8.8.8:99999/x"],
)  # fmt: skip
def test_a_public_service_reaches_no_private_network(url):
    """Images of a public service are not downloaded from a private network, or without https."""
    transport = Transport(Access("https://runapi.ai", Secret("k"), "", ""))
    with pytest.raises(UnsafeURLError):
        asyncio.run(transport.files.check_url(url))


def test_a_public_service_reaches_public_addresses():
    """Images of a public service are downloaded from public https URLs."""
    transport = Transport(Access("https://runapi.ai", Secret("k"), "", ""))
    assert asyncio.run(transport.files.check_url("https://8.8.8.8/x.png")) is None


@pytest.mark.parametrize(
    "again",
    [(401, {}, b""), (500, SOON, b""), (404, {}, b""), (200, {}, b"{"),
     (200, {}, {"id": "tsk_1", "status": "failed"})],
)  # fmt: skip
def test_an_expired_url_that_cannot_be_renewed(scripted, fail, again, monkeypatch):
    """If an expired URL cannot be renewed, the task still counts as charged."""
    monkeypatch.setattr("runapi_magic.http.client.POLL_TIMEOUT", 0.2)
    server = scripted()
    server.answers = {
        f"POST {SDK}": [done(server, "a")],
        "GET /a": [(410, {}, b"")],
        f"GET {SDK}/tsk_1": [again],
        "GET /api/v1/tasks/tsk_1": [again],
    }
    _, error, row = fail(server)
    assert "Not charged" not in error.charged
    assert "not charged" not in error.charged
    assert error.task_id == "tsk_1"
    assert row.state == "completed"


def test_an_expired_url(scripted, make, png):
    """If an image URL has expired, a poll gets a new one."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [done(server, "old")],
        "GET /old": [(403, {}, b"")],
        f"GET {SDK}/tsk_1": [done(server, "new")],
        "GET /new": [(200, {}, png)],
    }
    assert make(server).image.url == f"{server.url}/new"


def test_one_of_two_images(scripted, use, png):
    """If one of two images cannot be downloaded, the other one is saved."""
    server = scripted()
    server.answers = {
        "POST /api/v1/gpt_4o_image/text_to_image": [done(server, "a", "b", usage={"cost": 0.07})],
        "GET /a": [(200, {}, png)],
        "GET /b": [(200, {}, b"<html>")],
    }

    async def body(session):
        return await session.generate("a fox", model="gpt-4o-image", aspect_ratio="1:1", count=2)

    generation = use(server, body)
    assert (generation.status, len(generation.images)) == ("completed", 1)
    assert [type(error) for error in generation.errors] == [DownloadError]
    assert generation.cost == 0.07
    assert generation.image.cost == 0.035


def test_new_urls_for_fewer_images():
    """If the service lists fewer images than before, the error is that of the expired URL."""

    class Client:
        async def get(self, _task_id, paths):
            return PolledTask(replace(task, image_urls=("b",)), paths[0], None)

    async def download_one(current, position):
        asked.append(current.image_urls[position])
        if asked == ["a1"]:
            raise DownloadError("The URL has expired.", expired=True)

    task, asked = Task("tsk_1", TaskStatus.COMPLETED, image_urls=("a1", "a2")), []
    with pytest.raises(DownloadError, match="has expired"):
        asyncio.run(download_each(Client(), task, ("/tsk_1",), download_one))
    assert asked == ["a1"]
