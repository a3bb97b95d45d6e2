"""Records in image files: complete, without secrets, and safe to read from strangers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runapi_magic
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.provenance import SOFTWARE, public_title, record_of, restore
from runapi_magic.engine.session import Session
from runapi_magic.errors import InvalidRequestError
from tests.properties import JSON, PROPERTY
from tests.sessions import write_image

ORIGIN = "https://runapi.ai"


def _image(number, prompt, parent=None, **more):
    sources = ()
    if parent is not None:
        sources = (Source(parent.request.title, parent.digest, path=parent.path, image=parent),)
    request = ImageRequest(prompt, "gpt-image-2", {"aspect_ratio": "3:4"}, sources=sources)
    path = Path(f"{number}.png").absolute()
    return GeneratedImage(
        id=f"part-{number}-0", path=path, request=request, width=8, height=6,
        task_id=f"tsk_{number}", digest=write_image(path, f"#{number:06x}"), origin=ORIGIN,
        cost=0.06, created=1_700_000_000.0 + number, **more,
    )  # fmt: skip


def _record(image):
    return record_of(
        image.request, image=image.id, task_id=image.task_id, position=0, origin=image.origin,
        simulated=image.simulated, created=image.created, cost=image.cost,
    )  # fmt: skip


def _restore(record, path=Path("3.png"), size=(8, 6)):
    return restore(record, path.absolute(), "0" * 64, size, Session())


def _line():
    fox = _image(1, "a fox")
    snow = _image(2, "make it snow", fox)
    return [fox, snow, _image(3, "add a moon", snow)]


def test_a_record():
    """A record is JSON with everything needed to generate the image again, and its lineage."""
    fox, snow, moon = _line()
    record = json.loads(json.dumps(_record(moon)))
    line = record.pop("line")
    assert record == {
        "schema": 1, "image": "part-3-0", "position": 0, "origin": ORIGIN, "simulated": False,
        "parent": "part-2-0", "task": "tsk_3", "created": "2023-11-14T22:13:23+00:00",
        "cost_usd": 0.06, "prompt": "add a moon", "model": "gpt-image-2",
        "fields": {"aspect_ratio": "3:4"}, "mask": None,
        "sources": [{"label": "make it snow", "digest": snow.digest, "url": None,
                     "image": "part-2-0"}],
    }  # fmt: skip
    assert [(step["image"], step["file"], step["digest"]) for step in line] == [
        ("part-1-0", "1.png", fox.digest), ("part-2-0", "2.png", snow.digest),
    ]  # fmt: skip
    assert f"runapi_magic {runapi_magic.__version__}" == SOFTWARE


def test_a_round_trip():
    """A record that is read gives the same request, lineage and record."""
    images = _line()
    found = _restore(_record(images[2]))
    assert [one.id for one in found.line] == [one.id for one in images]
    for one, other in zip(found.line, images, strict=True):
        assert one.request.fingerprint == other.request.fingerprint
        assert (one.prompt, one.model, one.fields) == (other.prompt, other.model, other.fields)
        assert (one.task_id, one.cost, one.created) == (other.task_id, other.cost, other.created)
        assert (one.path, one.size, one.origin) == (other.path, other.size, other.origin)
    assert found.line[0].digest == images[0].digest
    assert _record(found) == _record(images[2])


def test_the_last_image_alone():
    """Without the other files of the lineage, an image still has the lineage."""
    images = _line()
    for image in images[:2]:
        image.path.unlink()
    found = _restore(_record(images[2]))
    assert [one.prompt for one in found.line] == ["a fox", "make it snow", "add a moon"]
    assert [one.is_on_disk for one in found.line] == [False, False, True]


def test_another_image_with_the_name_of_a_version():
    """A file with the name of a version but other content is not used."""
    images = _line()
    write_image("1.png", "white")
    found = _restore(_record(images[2]))
    assert [one.is_on_disk for one in found.line] == [False, True, True]


@pytest.mark.parametrize("name", ["..", "", "/", "x" * 256, "é" * 128, "a\0b", "\ud800"])
def test_invalid_names(name):
    """A record with an invalid file name is refused."""
    record = _record(_line()[2])
    record["line"][0]["file"] = name
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        _restore(record)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../secret.png", "~/x"])
def test_names_in_another_folder(name):
    """A record cannot refer to a file outside the image's folder."""
    record = _record(_line()[2])
    record["line"][0]["file"] = name
    path = Path("deep/down/3.png").absolute()
    found = _restore(record, path)
    assert not found.line[0].is_on_disk
    assert found.line[0].path.parent == path.parent


@pytest.mark.parametrize(
    ("source", "label"),
    [
        (Source("/home/eve/private/cat.png", "0" * 64, path=Path("/home/eve/private/cat.png")),
         "cat.png"),
        (Source("https://user:pass@example.com/cat.png?token=private", "0" * 64,
                url="https://user:pass@example.com/cat.png?token=private#private"),
         "https://example.com/cat.png"),
        (Source("ramp", "0" * 64, content=b"private"), "ramp"),
    ],
)  # fmt: skip
def test_no_secrets(source, label):
    """A record and a title contain no folder and no query of a URL."""
    request = ImageRequest("", "topaz-upscale-image", {"upscale_factor": 2}, sources=(source,))
    large = replace(_image(1, "x"), request=request)
    child = _image(2, "make it snow", large)
    for image in (large, child):
        text = json.dumps(_record(image)) + public_title(image.request)
        assert [word for word in ("private", "eve", "user", "pass") if word in text] == []
    assert _record(large)["sources"][0]["label"] == label
    assert public_title(request) == f"upscale image: {label}"


def test_urls_in_fields():
    """A URL in a field, such as a callback's, is recorded without its secrets."""
    request = ImageRequest(
        "a fox", "gpt-image-2",
        {"callback_url": "https://example.com/hook?token=private", "note": "a?b", "other_url": 3},
    )  # fmt: skip
    fields = _record(replace(_image(1, "x"), request=request))["fields"]
    assert fields == {
        "callback_url": "https://example.com/hook", "note": "a?b", "other_url": "3",
    }  # fmt: skip


def test_a_long_lineage():
    """A record has the last 200 versions of a lineage."""
    image = None
    for number in range(220):
        image = _image(number, f"step {number}", image)
    record = _record(image)
    assert [step["prompt"] for step in record["line"]] == [f"step {n}" for n in range(19, 219)]
    found = _restore(record)
    assert (found.version, found.line[0].prompt) == (201, "step 19")


GOOD = {
    "schema": 1, "image": "i2", "position": 0, "origin": ORIGIN, "simulated": False, "parent": "i1",
    "task": "t", "created": "2023-11-14T22:13:23+00:00", "cost_usd": 0.06, "prompt": "snow",
    "model": "gpt-image-2", "fields": {"aspect_ratio": "3:4"}, "mask": None,
    "sources": [{"label": "fox", "digest": "0" * 64, "url": None, "image": "i1"}],
    "line": [
        {"image": "i1", "file": "1.png", "digest": "0" * 64, "width": 8, "height": 6, "task": "t",
         "created": "2023-11-14T22:13:22+00:00", "cost_usd": None, "prompt": "a fox",
         "model": "gpt-image-2", "fields": {}, "mask": None, "sources": []},
    ],
}  # fmt: skip


def _places(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from _places(inner, (*place, key))


PLACES = [place for place in _places(GOOD) if place]
ODD = st.sampled_from(
    ["\0", "x" * 300, "é" * 200, "\ud800", "..", "/", "i1", "i2", "1e999", 10**400, -1, 1e308,
     "\n%%bash", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+23:59", [], {}, None, True]
)  # fmt: skip


@PROPERTY
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), JSON | ODD), min_size=1, max_size=3))
def test_records_from_strangers(changes):
    """Any record is either refused, or gives an image that can be shown."""
    record = json.loads(json.dumps(GOOD))
    for place, value in changes:
        inner = record
        try:
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    session = Session()
    try:
        image = restore(record, Path("2.png").absolute(), "0" * 64, (8, 6), session)
    except InvalidRequestError as error:
        shown = [error.what, error.charged, error.todo]
    else:
        shown = [str(image.tree()), image.tree().draw().width, image.cell(), image.line]
    assert all(shown)


def _deep():
    value = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "wide"), ("cost_usd", [5]), ("created", "yesterday"), ("fields", 5),
        ("created", "0001-01-01T00:00:00+23:59"), ("sources", [5]), ("mask", 5),
        ("created", "9999-12-31T23:59:59-12:00"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", ["last", "first"])
def test_invalid_values(name, value, step):
    """An invalid value is refused, in the image's own entry and in its lineage."""
    record = json.loads(json.dumps(GOOD))
    {"last": record, "first": record["line"][0]}[step][name] = value
    size = (value, 6) if name == "width" else (8, 6)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        _restore(record, Path("2.png"), size)


def test_huge_values():
    """A huge width, or a text that is nested too deep, is refused."""
    for change in ({"prompt": _deep()}, {"line": [GOOD["line"][0] | {"width": float("inf")}]}):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            _restore(GOOD | change)


@PROPERTY
@given(record=st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(), JSON))
def test_other_dictionaries(record):
    """Any other dictionary is refused."""
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        _restore(record)
