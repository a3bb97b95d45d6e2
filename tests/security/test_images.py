"""Images from a service: only image types, with limits on bytes and pixels."""

from __future__ import annotations

import io
import zlib

import httpx
import pytest
from PIL import Image

from runapi_magic.core.formats import image_format
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import DownloadError
from runapi_magic.http.client import Client
from runapi_magic.media.files import create_part, finish_part
from runapi_magic.media.limits import Limits
from runapi_magic.media.preview import make_preview

URL = "https://files.example/a.png"
LIMITS = Limits(megapixels=1, preview_size=64, preview_quality=85)
KINDS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}


def _encoded(kind):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 18)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


REFUSED = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "svg with a declaration": b'<?xml version="1.0"?><svg onload="alert(1)"/>',
    "html": b"<!doctype html><script>alert(1)</script>",
    "bmp": _encoded("BMP"),
    "tiff": _encoded("TIFF"),
    "ico": _encoded("ICO"),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "psd": b"8BPS\0\1",
    "zip": b"PK\3\4",
    "pickle": b"\x80\4\x95",
    "riff of another kind": b"RIFF\x10\0\0\0WAVEfmt ",
    "avif": b"\0\0\0\x1cftypavif",
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "nothing": b"",
    "blanks before a png": b" " + _encoded("PNG"),
}


@pytest.fixture
def fetch(run, network, dns, tmp_path):
    """Download a body and save it as the pipeline does. Return the file or the error."""

    def call(body, *, content_type="image/png", most=1, stream=None):
        network.responses[URL] = httpx.Response(
            200, content=stream or body, headers={"content-type": content_type}
        )
        part = create_part(tmp_path / "images", "unique")

        async def get(transport):
            kind = await Client(transport).download(URL, part, max_megabytes=most)
            return finish_part(part, "stem", kind, LIMITS)

        return run(get)

    return call


@pytest.mark.parametrize("kind", KINDS)
def test_four_formats_are_accepted(fetch, kind):
    """PNG, JPEG, WEBP and GIF are accepted. The content decides, not the Content-Type."""
    saved = fetch(_encoded(kind), content_type="text/html")
    assert saved.path.suffix == f".{KINDS[kind]}"
    assert (saved.width, saved.height) == (24, 18)


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("content_type", ["image/png", "image/svg+xml", ""])
def test_other_formats_are_refused(fetch, body, content_type):
    """All other formats are refused. The content decides, not the Content-Type."""
    assert isinstance(fetch(body, content_type=content_type), DownloadError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("inside", ["BMP", "TIFF", "PPM", "TGA"])
def test_the_signature_selects_the_decoder(tmp_path, kind, inside):
    """Only the decoder of the format in the first bytes is used."""
    path = tmp_path / "file"
    path.write_bytes(_encoded(kind)[:12] + _encoded(inside))
    with pytest.raises(DownloadError):
        make_preview(path, LIMITS)


def test_the_announced_length_is_not_trusted(fetch):
    """Reading stops at the size limit, whatever length was announced."""
    sent = []

    async def flood():
        yield _encoded("PNG")
        for number in range(1000):
            sent.append(number)
            yield bytes(100_000)

    error = fetch(b"", stream=flood())
    assert isinstance(error, DownloadError)
    assert "larger than 1 MB" in error.what
    assert len(sent) < 20


def test_decompression_stops_at_the_limit(run, network, dns, tmp_path):
    """Decompression of a small response stops at the size limit."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = packer.compress(_encoded("PNG") + bytes(200_000_000)) + packer.flush()
    network.responses[URL] = httpx.Response(
        200, stream=httpx.ByteStream(content), headers={"content-encoding": "gzip"}
    )
    into = tmp_path / "part"
    error = run(lambda transport: Client(transport).download(URL, into, max_megabytes=1))
    assert isinstance(error, DownloadError)
    assert into.stat().st_size <= 1_000_000


def _bomb(side, *, kind="PNG"):
    """Make a small file of ``side`` by ``side`` pixels."""
    buffer = io.BytesIO()
    Image.new("1" if kind == "PNG" else "L", (side, side)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG"])
def test_an_image_with_too_many_pixels_is_not_decoded(fetch, monkeypatch, kind):
    """A small file with many pixels is saved but not decoded. It gets a grey preview."""

    def fail(*_):
        raise AssertionError("decoded")

    content = _bomb(4000, kind=kind)
    monkeypatch.setattr("runapi_magic.media.preview._reduce", fail)
    saved = fetch(content)
    assert (saved.width, saved.height) == (4000, 4000)
    assert saved.path.read_bytes() == content
    assert max(saved.preview.width, saved.preview.height) <= LIMITS.preview_size


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (0, 1)])
def test_impossible_dimensions(fetch, size):
    """A PNG with impossible dimensions gives a DownloadError or a grey preview."""
    header = size[0].to_bytes(4) + size[1].to_bytes(4) + bytes([8, 2, 0, 0, 0])
    chunk = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + len(header).to_bytes(4) + chunk
    content += zlib.crc32(chunk).to_bytes(4) + b"\0\0\0\0IEND\xaeB`\x82"
    found = fetch(content)
    assert isinstance(found, DownloadError) or found.preview.width <= LIMITS.preview_size


def test_a_bomb_in_a_text_chunk(fetch):
    """A PNG whose compressed text unpacks to 100 MB does not use that much memory."""
    packed = zlib.compress(bytes(100_000_000), 9)
    chunk = b"zTXt" + b"Comment\0\0" + packed
    good = _encoded("PNG")
    body = len(chunk[4:]).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    found = fetch(good[:33] + body + good[33:])
    assert isinstance(found, DownloadError) or (found.width, found.height) == (24, 18)


def test_an_animation_is_one_image(fetch):
    """Only the first frame of an animation is decoded."""
    frames = [Image.new("P", (200, 200), number) for number in range(60)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    saved = fetch(buffer.getvalue())
    assert saved.preview.mime in {"image/jpeg", "image/png"}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_other_types_by_their_first_bytes(body):
    """The first bytes show that a file is not an image."""
    assert image_format(body[:16]) is None


def test_a_source_with_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    """A source image is checked without decoding it."""
    path = tmp_path / "bomb.png"
    path.write_bytes(_bomb(6000))

    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert as_source(path).path == path
