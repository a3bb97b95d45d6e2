"""Files: uploads in three ways, downloads, and when they are gone."""

import base64
import hashlib

import pytest

from .conftest import BASE, KEY, picture_bytes

FILES = "/api/v1/files"


def base64_upload(api, content=None, **fields):
    """Upload as base64."""
    data = base64.b64encode(picture_bytes() if content is None else content).decode()
    return api.post(FILES, {"source": {"type": "base64", "data": data}} | fields)


def prepare(api, content, **fields):
    """Announce an upload."""
    checksum = base64.b64encode(hashlib.md5(content).digest()).decode()
    body = {"filename": "cat.png", "byte_size": len(content), "checksum": checksum}
    return api.post(f"{FILES}/prepare", body | fields)


def test_base64_makes_a_file_that_can_be_fetched(api):
    """A base64 upload answers a file object whose URL gives the bytes back for an hour."""
    content = picture_bytes()
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
    """The part before the comma of a data: URL is dropped."""
    data = "data:image/png;base64," + base64.b64encode(picture_bytes()).decode()
    answer = api.post(FILES, {"source": {"type": "base64", "data": data}})
    assert answer.json()["size_bytes"] == len(picture_bytes())


def test_a_url_makes_a_file_without_being_fetched(api):
    """A foreign URL becomes a stand-in picture, the same each time, named as the URL is."""
    answers = [
        api.post(FILES, {"source": {"type": "url", "url": "https://example.org/a-cat.png"}}).json()
        for _ in range(2)
    ]
    assert answers[0]["file_name"] == "a-cat.png"
    first, second = (api.get(answer["url"]).content for answer in answers)
    assert first == second


def test_an_output_can_be_made_a_file(api):
    """An upload from the URL of an own output holds that output's bytes."""
    url = api.picture()
    found = api.post(FILES, {"source": {"type": "url", "url": url}}).json()
    assert api.get(found["url"]).content == api.get(url).content


def test_a_prepared_upload(api):
    """Prepare, PUT with the returned headers and no key, confirm: the file is there."""
    content = picture_bytes()
    target = prepare(api, content).json()
    put = api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    assert put.status_code == 204
    found = api.post(f"{FILES}/confirm", {"signed_id": target["signed_id"]}).json()
    assert api.get(found["url"]).content == content


def test_a_put_with_a_key_is_refused(api):
    """An Authorization header on a signed URL is a 400: the key went where it should not."""
    content = picture_bytes()
    target = prepare(api, content).json()
    headers = target["headers"] | KEY
    answer = api.request("PUT", target["upload_url"], content=content, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["Content-Type", "Content-MD5", "X-Upload-Token"])
def test_a_put_without_a_signed_header_is_refused(api, name):
    """Every returned header is needed as it is."""
    content = picture_bytes()
    target = prepare(api, content).json()
    headers = target["headers"] | {name: "something-else"}
    answer = api.request("PUT", target["upload_url"], content=content, headers=headers)
    assert (answer.status_code, name in answer.text) == (400, True)


def test_other_bytes_than_announced_are_refused(api):
    """The MD5 of what comes is compared with the announced one, and so is the length."""
    content = picture_bytes()
    target = prepare(api, content).json()
    other = content[:-1] + b"x"
    answer = api.request("PUT", target["upload_url"], content=other, headers=target["headers"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "checksum_mismatch")
    target = prepare(api, content, byte_size=1).json()
    answer = api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "size_mismatch")


def test_confirming_needs_the_bytes(api):
    """Confirm before PUT is 422, of an unknown id 404, and a second PUT after it 404."""
    content = picture_bytes()
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
def test_a_wrong_announcement_is_refused(api, fields, named):
    """Prepare checks name, size and checksum."""
    answer = prepare(api, picture_bytes(), **fields)
    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {named}


def test_what_is_no_picture_is_refused(api):
    """Other content is 415, at once for base64 and at confirm for a prepared upload."""
    content = b"%PDF-1.7 and so on"
    assert base64_upload(api, content).status_code == 415
    target = prepare(api, content).json()
    api.request("PUT", target["upload_url"], content=content, headers=target["headers"])
    body = {"signed_id": target["signed_id"]}
    assert api.post(f"{FILES}/confirm", body).status_code == 415


def test_more_than_50_megabytes_are_refused(api):
    """The limit is announced sizes' and bodies' alike."""
    assert prepare(api, picture_bytes(), byte_size=50 * 2**20 + 1).status_code == 413
    assert prepare(api, picture_bytes(), byte_size=50 * 2**20).status_code == 201
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
def test_a_source_that_is_none_is_refused(api, source):
    """Unknown types, broken base64 and local addresses are 422."""
    assert api.post(FILES, {"source": source}).status_code == 422


def test_an_upload_is_gone_after_an_hour(api):
    """Its URL answers 410 and a task that uses it 422, naming the URL."""
    url = base64_upload(api).json()["url"]
    api.clock.pass_by(3599)
    assert api.get(url).status_code == 200
    api.clock.pass_by(1)
    assert api.get(url).status_code == 410
    body = {"model": "gpt-image-2", "prompt": "x", "source_image_urls": [url]}
    answer = api.post("/api/v1/gpt_image_2/edit_image", body)
    assert answer.status_code == 422
    assert url in answer.json()["errors"]["source_image_urls"][0]


def test_an_output_is_gone_after_seven_days(api):
    """Its URL answers 410 with JSON; an unknown one 404; one too early is not there yet."""
    task_id = api.create()
    url = f"{BASE}/files/{task_id}/0.png"
    assert api.get(url).status_code == 410
    task = api.sim.tasks[task_id]
    api.clock.now = task.ends + 7 * 24 * 3600 - 1
    assert api.get(url).status_code == 200
    api.clock.pass_by(1)
    assert api.get(url).json()["error"]["code"] == "gone"
    assert api.get(f"{BASE}/files/tsk_unknown/0.png").status_code == 404


@pytest.mark.parametrize("name", ["1.png", "0.jpg", "x.png", "0"])
def test_only_real_names_are_files(api, name):
    """A finished task has the files it names and no others."""
    url = api.picture()
    assert api.get(url.replace("0.png", name)).status_code == 410


def test_files_can_be_made_to_expire(api):
    """The control route ends the life of one task's files, or of all."""
    first, second = api.picture(), api.picture()
    task_id = next(iter(api.sim.tasks))
    assert api.post("/_simulator/expire", {"id": task_id}).json() == {"expired": 1}
    assert [api.get(url).status_code for url in (first, second)] == [410, 200]
    assert api.post("/_simulator/expire").json() == {"expired": 2}
    assert api.get(second).status_code == 410
    assert api.post("/_simulator/expire", {"id": "tsk_none"}).status_code == 404
    assert api.post("/_simulator/expire", []).status_code == 422


def test_a_download_says_what_it_is(api):
    """Content type and length are right, and no key is needed."""
    url = api.picture()
    answer = api.get(url, headers={})
    assert answer.headers["content-type"] == "image/png"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_urls_follow_the_host_that_was_asked(api):
    """Output URLs name the host the client used."""
    task_id = api.create()
    api.finish()
    found = api.get(f"http://localhost:8123/v1/tasks/{task_id}").json()
    assert found["images"][0]["url"].startswith("http://localhost:8123/files/")


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://localhost:9"])
def test_a_loopback_source_is_ours_by_either_name(api, host):
    """An expired file is recognised whether it is called localhost or 127.0.0.1."""
    body = {"model": "gpt-image-2", "prompt": "x"}
    body["source_image_urls"] = [f"{host}/files/tsk_gone/0.png"]
    answer = api.post("http://127.0.0.1:9/api/v1/gpt_image_2/edit_image", body)
    assert answer.status_code == 422
