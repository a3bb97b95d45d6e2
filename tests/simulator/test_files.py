"""Files: three ways to upload, downloads and expiry."""

import base64
import hashlib

import pytest

from .conftest import BASE, KEY, png_bytes

FILES = "/api/v1/files"


def base64_upload(api, content=None, **fields):
    """Upload a file as base64."""
    data = base64.b64encode(png_bytes() if content is None else content).decode()
    return api.post(FILES, {"source": {"type": "base64", "data": data}} | fields)


def prepare(api, content, **fields):
    """Prepare an upload."""
    checksum = base64.b64encode(hashlib.md5(content).digest()).decode()
    body = {"filename": "cat.png", "byte_size": len(content), "checksum": checksum}
    return api.post(f"{FILES}/prepare", body | fields)


def test_base64_makes_a_file_that_can_be_fetched(api):
    """A base64 upload returns a file object. Its URL returns the bytes for an hour."""
    content = png_bytes()
    found = base64_upload(api, content, file_name="my cat.png").json()
    assert found == {
        "file_name": "my_cat.png",
        "url": found["url"],
        "size_bytes": len(content),
        "mime_type": "image/png",
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T09:00:00Z",
    }
    assert api.get(found["url"], headers={}).content == content


def test_a_data_url_is_base64_too(api):
    """The part of a data: URL before the comma is ignored."""
    data = "data:image/png;base64," + base64.b64encode(png_bytes()).decode()
    response = api.post(FILES, {"source": {"type": "base64", "data": data}})
    assert response.json()["size_bytes"] == len(png_bytes())


def test_a_url_makes_a_file_without_being_fetched(api):
    """A foreign URL becomes a placeholder image, always the same, with the URL's file name."""
    responses = [
        api.post(FILES, {"source": {"type": "url", "url": "https://example.org/a-cat.png"}}).json()
        for _ in range(2)
    ]
    assert responses[0]["file_name"] == "a-cat.png"
    first, second = (api.get(response["url"]).content for response in responses)
    assert first == second


def test_an_output_can_be_uploaded_by_its_url(api):
    """The uploaded file has the bytes of the output."""
    url = api.create_image()
    found = api.post(FILES, {"source": {"type": "url", "url": url}}).json()
    assert api.get(found["url"]).content == api.get(url).content


def test_a_prepared_upload(api):
    """Prepare, PUT with the returned headers and without a key, confirm: the file exists."""
    content = png_bytes()
    target = prepare(api, content).json()
    put = api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    assert put.status_code == 204
    found = api.post(f"{FILES}/confirm", {"signed_id": target["signed_id"]}).json()
    assert api.get(found["url"]).content == content


def test_a_put_with_a_key_is_refused(api):
    """An Authorization header on a signed URL gets a 400: the key must not be sent there."""
    content = png_bytes()
    target = prepare(api, content).json()
    headers = target["headers"] | KEY
    response = api.request("PUT", target["upload_url"], content=content, headers=headers)
    assert response.status_code == 400


@pytest.mark.parametrize("name", ["Content-Type", "Content-MD5", "X-Upload-Token"])
def test_a_put_without_a_signed_header_is_refused(api, name):
    """Every returned header is required without changes."""
    content = png_bytes()
    target = prepare(api, content).json()
    headers = target["headers"] | {name: "something-else"}
    response = api.request("PUT", target["upload_url"], content=content, headers=headers)
    assert (response.status_code, name in response.text) == (400, True)


def test_bytes_other_than_announced_are_refused(api):
    """MD5 and length of the bytes are compared with the announced ones."""
    content = png_bytes()
    target = prepare(api, content).json()
    other = content[:-1] + b"x"
    response = api.request("PUT", target["upload_url"], content=other, headers=target["headers"])
    assert (response.status_code, response.json()["error"]["code"]) == (422, "checksum_mismatch")
    target = prepare(api, content, byte_size=1).json()
    response = api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    assert (response.status_code, response.json()["error"]["code"]) == (422, "size_mismatch")


def test_confirming_needs_the_bytes(api):
    """Confirm before PUT gets a 422, an unknown id a 404, and a PUT after confirm a 404."""
    content = png_bytes()
    target = prepare(api, content).json()
    body = {"signed_id": target["signed_id"]}
    assert api.post(f"{FILES}/confirm", body).status_code == 422
    assert api.post(f"{FILES}/confirm", {"signed_id": "upl_x"}).status_code == 404
    put = {"content": content, "headers": target["headers"]}
    api.request("PUT", target["upload_url"], **put)
    assert api.post(f"{FILES}/confirm", body).status_code == 201
    assert api.request("PUT", target["upload_url"], **put).status_code == 404


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"filename": ""}, "filename"),
        ({"byte_size": 0}, "byte_size"),
        ({"byte_size": "9"}, "byte_size"),
        ({"checksum": "not base64!"}, "checksum"),
        ({"checksum": base64.b64encode(b"short").decode()}, "checksum"),
    ],
)
def test_an_invalid_prepare_request_is_refused(api, fields, named):
    """Prepare checks name, size and checksum."""
    response = prepare(api, png_bytes(), **fields)
    assert response.status_code == 422
    assert set(response.json()["errors"]) == {named}


def test_a_file_that_is_not_an_image_is_refused(api):
    """It gets a 415: for base64 at once, for a prepared upload at confirm."""
    content = b"%PDF-1.7 and so on"
    assert base64_upload(api, content).status_code == 415
    target = prepare(api, content).json()
    api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    body = {"signed_id": target["signed_id"]}
    assert api.post(f"{FILES}/confirm", body).status_code == 415


def test_more_than_50_megabytes_are_refused(api):
    """The limit applies to announced sizes and to bodies."""
    assert prepare(api, png_bytes(), byte_size=50 * 2**20 + 1).status_code == 413
    assert prepare(api, png_bytes(), byte_size=50 * 2**20).status_code == 201
    huge = api.request("POST", FILES, content=bytes(73 * 2**20))
    assert huge.status_code == 413
    data = "A" * (52 * 2**20 * 4 // 3)
    assert api.post(FILES, {"source": {"type": "base64", "data": data}}).status_code == 413


@pytest.mark.parametrize(
    "source",
    [
        None,
        "text",
        {"type": "ftp"},
        {"type": "base64", "data": "***"},
        {"type": "base64"},
        {"type": "url", "url": "file:///etc/passwd"},
        {"type": "url"},
    ],
)
def test_an_invalid_source_is_refused(api, source):
    """Unknown types, invalid base64 and file URLs get a 422."""
    assert api.post(FILES, {"source": source}).status_code == 422


def test_an_upload_expires_after_an_hour(api):
    """Then its URL gets a 410. A task that uses it gets a 422 that names the URL."""
    url = base64_upload(api).json()["url"]
    api.clock.advance(3599)
    assert api.get(url).status_code == 200
    api.clock.advance(1)
    assert api.get(url).status_code == 410
    body = {"model": "gpt-image-2", "prompt": "x", "source_image_urls": [url]}
    response = api.post("/api/v1/gpt_image_2/edit_image", body)
    assert response.status_code == 422
    assert url in response.json()["errors"]["source_image_urls"][0]


def test_an_output_expires_after_seven_days(api):
    """Its URL gets a 410 with JSON before completion and after expiry; an unknown one a 404."""
    task_id = api.create()
    url = f"{BASE}/files/{task_id}/0.png"
    assert api.get(url).status_code == 410
    task = api.sim.tasks[task_id]
    api.clock.now = task.ends + 7 * 24 * 3600 - 1
    assert api.get(url).status_code == 200
    api.clock.advance(1)
    assert api.get(url).json()["error"]["code"] == "gone"
    assert api.get(f"{BASE}/files/tsk_unknown/0.png").status_code == 404


@pytest.mark.parametrize("name", ["1.png", "0.jpg", "x.png", "0"])
def test_other_names_are_not_files(api, name):
    """A finished task only has the files in its response."""
    url = api.create_image()
    assert api.get(url.replace("0.png", name)).status_code == 410


def test_files_can_be_made_to_expire(api):
    """The expire route expires the files of one task, or of all."""
    first, second = api.create_image(), api.create_image()
    task_id = next(iter(api.sim.tasks))
    assert api.post("/_simulator/expire", {"id": task_id}).json() == {"expired": 1}
    assert [api.get(url).status_code for url in (first, second)] == [410, 200]
    assert api.post("/_simulator/expire").json() == {"expired": 2}
    assert api.get(second).status_code == 410
    assert api.post("/_simulator/expire", {"id": "tsk_none"}).status_code == 404
    assert api.post("/_simulator/expire", []).status_code == 422
    assert api.post("/_simulator/expire", {"id": []}).status_code == 422


def test_a_download_has_type_and_length(api):
    """Content type and length are correct, and no key is needed."""
    url = api.create_image()
    response = api.get(url, headers={})
    assert response.headers["content-type"] == "image/png"
    assert int(response.headers["content-length"]) == len(response.content)


def test_urls_have_the_requested_host(api):
    """Output URLs have the host of the request."""
    task_id = api.create()
    api.finish()
    found = api.get(f"http://localhost:8123/v1/tasks/{task_id}").json()
    assert found["images"][0]["url"].startswith("http://localhost:8123/files/")


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://localhost:9"])
def test_both_loopback_names_mean_this_simulator(api, host):
    """An expired file is recognised under localhost and under 127.0.0.1."""
    body = {"model": "gpt-image-2", "prompt": "x"}
    body["source_image_urls"] = [f"{host}/files/tsk_gone/0.png"]
    response = api.post("http://127.0.0.1:9/api/v1/gpt_image_2/edit_image", body)
    assert response.status_code == 422
