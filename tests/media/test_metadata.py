"""The record is stored in the image file, and the pixels do not change."""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps, ImageSequence, PngImagePlugin

from runapi_magic.core.formats import image_format
from runapi_magic.media.metadata import embed, extract
from runapi_magic.media.metadata_note import Note
from tests.properties import PROPERTY

RECORD = {"prompt": "a cat", "model": "gpt-image-2", "fields": {"count": 2}, "parent": None}
NOTE = Note(RECORD, "a cat", "runapi_magic 0.1.0", 1_700_000_000.5)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NASTY = '猫と犬 🐈\u200d⬛ line\r\ntwo\ttab "quotes" \\ NUL\0 lone \udc00\ud83d end \x7f\x1b ñ'


def _noise(mode="RGB", size=(23, 17), seed=1):
    bands = {"I;16": 2, "1": 1, "P": 1}.get(mode) or len(mode)
    if mode == "1":
        return _noise("L", size, seed).convert("1")
    data = random.Random(seed).randbytes(size[0] * size[1] * bands)
    image = Image.frombytes(mode, size, data)
    if mode == "P":
        image.putpalette(random.Random(seed).randbytes(768))
    return image


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _frames(modes="RGB"):
    return [_noise(modes, seed=seed) for seed in range(1, 5)]


def _full_exif(order="<"):
    exif = Image.Exif()
    exif.endian = order
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.Software] = "of before"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.ISOSpeedRatings: 400, ExifTags.Base.LensModel: "A long lens"}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSDateStamp] = "2020:01:02"
    return exif


def _without_jfif(content):
    assert content[2:4] == b"\xff\xe0"
    return content[:2] + content[4 + struct.unpack(">H", content[4:6])[0] :]


def _anim(kind, frames, **options):
    return _saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def _bare_webp(content):
    """Take the only image out of VP8X."""
    at = 12
    while content[at : at + 4] not in {b"VP8 ", b"VP8L"}:
        at += 8 + struct.unpack_from("<I", content, at + 4)[0]
    size = struct.unpack_from("<I", content, at + 4)[0]
    body = b"WEBP" + content[at : at + 8 + size + size % 2]
    return b"RIFF" + struct.pack("<I", len(body)) + body


PNGS = {mode: _saved(_noise(mode), "PNG", dpi=(300, 300)) for mode in
        ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}  # fmt: skip
PNGS |= {
    "icc": _saved(_noise(), "PNG", icc_profile=ICC),
    "palette-transparency": _saved(_noise("P"), "PNG", transparency=bytes(range(256))),
    "colour-key": _saved(_noise(), "PNG", transparency=(1, 2, 3)),
    "animated": _anim("PNG", _frames("RGBA"), duration=[10, 20, 30, 40], loop=3),
    "exif": _saved(_noise(), "PNG", exif=_full_exif()),
    "tail": _saved(_noise(), "PNG") + b"more",
}
JPEGS = {mode: _saved(_noise(mode), "JPEG", dpi=(96, 96)) for mode in ("RGB", "L", "CMYK")}
JPEGS |= {
    "progressive": _saved(_noise(), "JPEG", progressive=True, icc_profile=ICC, comment=b"hello"),
    "no-jfif": _without_jfif(_saved(_noise(), "JPEG")),
    "exif": _saved(_noise(), "JPEG", exif=_full_exif()),
    "exif-big-endian": _saved(_noise(), "JPEG", exif=_full_exif(">")),
    "exif-no-jfif": _without_jfif(_saved(_noise(), "JPEG", exif=_full_exif())),
    "fill-bytes": _saved(_noise(), "JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "tail": _saved(_noise(), "JPEG") + b"more",
}
WEBPS = {
    "lossy": _saved(_noise(), "WEBP"),
    "lossless": _saved(_noise(), "WEBP", lossless=True),
    "lossy-alpha": _saved(_noise("RGBA"), "WEBP"),
    "lossless-alpha": _saved(_noise("RGBA"), "WEBP", lossless=True, exact=True),
    "lossless-alpha-bare": _bare_webp(_saved(_noise("RGBA"), "WEBP", lossless=True, exact=True)),
    "odd": _bare_webp(_saved(_noise(size=(1, 1)), "WEBP")),
    "icc": _saved(_noise(), "WEBP", icc_profile=ICC, xmp=b"<x:xmpmeta/>"),
    "exif": _saved(_noise(), "WEBP", exif=_full_exif()),
    "animated": _anim("WEBP", _frames("RGBA"), duration=[10, 20, 30, 40], loop=3, lossless=True),
    "animated-exif": _anim("WEBP", _frames(), duration=50, exif=_full_exif()),
    "tail": _saved(_noise(), "WEBP") + b"more",
}
GIFS = {
    "one": _saved(_noise("P"), "GIF"),
    "first-version": _saved(_noise("P"), "GIF").replace(b"GIF89a", b"GIF87a"),
    "transparent": _saved(_noise("P"), "GIF", transparency=7),
    "animated": _anim("GIF", _frames(), duration=[100, 200, 300, 400], loop=2, disposal=2),
    "commented": _saved(_noise("P"), "GIF", comment=b'{"runapi":"of another"}'),
}
FILES = {
    f"{kind}-{name}": content
    for kind, files in {"png": PNGS, "jpg": JPEGS, "webp": WEBPS, "gif": GIFS}.items()
    for name, content in files.items()
}
ONE_OF_EACH = {"png": PNGS["RGB"], "jpg": JPEGS["exif"], "webp": WEBPS["icc"], "gif": GIFS["one"]}
every_kind = pytest.mark.parametrize("kind", ONE_OF_EACH)
with_exif = pytest.mark.parametrize(
    "name",
    ["jpg-exif", "jpg-exif-big-endian", "jpg-exif-no-jfif", "webp-exif", "webp-animated-exif"],
)
# Information about the format that the note changes. "extension" is an offset in a GIF.
OURS = {
    "extension",
    "comment",
    "exif",
    "version",
    "Description",
    "Software",
    "Creation Time",
    "runapi_magic",
}


def _written(content, note=NOTE, kind=None):
    path = Path(".u.part")
    path.write_bytes(content)
    embed(path, kind or image_format(content), note)
    return path.read_bytes()


def _read(content):
    path = Path("read")
    path.write_bytes(content)
    return extract(path)


def _shown(content):
    """Return all that a viewer shows: pixels, mode and information of every frame.

    With Exif data, Pillow assumes 72 dpi if there are none, which is the default of Exif.
    """
    default = {"dpi": (72, 72)}
    with Image.open(io.BytesIO(content)) as image:
        return [
            (frame.mode, frame.size, frame.tobytes(), frame.getpalette(), frame.getexif().get(274),
             ImageOps.exif_transpose(frame).tobytes(),
             default | {key: value for key, value in frame.info.items() if key not in OURS})
            for frame in ImageSequence.Iterator(image)
        ]  # fmt: skip


def _exif(content):
    """Read Exif as Pillow does: the directories without their offsets."""
    with Image.open(io.BytesIO(content)) as image:
        exif = image.getexif()
        return dict(exif), dict(exif.get_ifd(0x8769)), dict(exif.get_ifd(0x8825))


@pytest.mark.parametrize("name", FILES)
def test_pixels_do_not_change(name):
    """Frames, profile, density, orientation and transparency do not change, in any format."""
    written = _written(FILES[name])
    assert _read(written) == RECORD
    assert _shown(written) == _shown(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_the_note_is_replaced(name):
    """A second note replaces the first. The file is as if the first was never written."""
    first = _written(FILES[name], Note({"prompt": NASTY * 20}, NASTY, "old 0", 0.0))
    assert _written(first) == _written(FILES[name])
    assert _written(_written(FILES[name])) == _written(FILES[name])


@pytest.mark.parametrize("name", [f"png-{name}" for name in PNGS])
def test_pillow_reads_the_texts_of_a_png(name):
    """Pillow reads the record and the standard texts before the pixels."""
    with Image.open(io.BytesIO(_written(FILES[name]))) as image:
        info = dict(image.info)
    assert json.loads(info["runapi_magic"]) == RECORD
    assert info["Description"] == "a cat"
    assert info["Software"] == "runapi_magic 0.1.0"
    assert info["Creation Time"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_other_chunks_of_a_png_keep_their_order():
    """Texts of other programs are kept byte for byte, even with the same keywords."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Software", "another")
    texts.add_itxt("Description", "another", zip=True)
    texts.add(b"caBX", b"signed")
    content = _saved(_noise(), "PNG", pnginfo=texts, icc_profile=ICC, dpi=(72, 72))
    written = _written(_written(content))
    end = 8 + 25
    assert written.startswith(content[:end])
    assert written.endswith(content[end:])
    assert written[end + 4 :].startswith(b"iTXtrunapi_magic\0")
    with Image.open(io.BytesIO(written)) as image:
        image.verify()


@pytest.mark.parametrize("name", [*(f"jpg-{n}" for n in JPEGS), *(f"webp-{n}" for n in WEBPS)])
def test_pillow_reads_exif(name):
    """Pillow reads the record and the standard tags from the Exif data."""
    first, exif, _ = _exif(_written(FILES[name]))
    assert first[ExifTags.Base.ImageDescription] == "a cat"
    assert first[ExifTags.Base.Software] == "runapi_magic 0.1.0"
    assert first[ExifTags.Base.DateTime] == "2023:11:14 22:13:20"
    assert exif[ExifTags.Base.OffsetTime] == "+00:00"
    comment = exif[ExifTags.Base.UserComment]
    assert comment[:8] == b"ASCII\0\0\0"
    assert json.loads(comment[8:]) == {"runapi_magic": RECORD}


@with_exif
def test_other_exif_tags_are_kept(name):
    """Orientation, camera, lens and location are kept by the first and the second note."""
    written = _written(_written(FILES[name], Note({}, "x" * 999, "x", 0)))
    new, old = _exif(written), _exif(FILES[name])
    own = {0x010E, 0x0131, 0x0132, 0x8769, 0x8825}
    for before, after in zip(old, new, strict=True):
        kept = before.keys() - own
        assert kept
        assert {tag: after[tag] for tag in kept} == {tag: before[tag] for tag in kept}
    assert new[0][ExifTags.Base.Software] == "runapi_magic 0.1.0"


def test_the_thumbnail_is_kept():
    """The second directory is kept, which Pillow's own writer would drop."""
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 274, 3, 1, 6)
    tiff += struct.pack("<IHHHIII", 26, 1, 256, 4, 1, 99, 0)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + tiff)
    assert dict(exif.get_ifd(ExifTags.IFD.IFD1)) == {256: 99}
    written = _written(_saved(_noise(), "JPEG", exif=b"Exif\0\0" + tiff))
    with Image.open(io.BytesIO(written)) as image:
        assert dict(image.getexif().get_ifd(ExifTags.IFD.IFD1)) == {256: 99}
        assert image.getexif()[274] == 6


def test_position_of_exif_in_a_jpeg():
    """There is one Exif segment, after JFIF, or at the start without JFIF."""
    with_jfif, without = _written(JPEGS["RGB"]), _written(JPEGS["no-jfif"])
    assert with_jfif.startswith(JPEGS["RGB"][:20] + b"\xff\xe1")
    assert without.startswith(b"\xff\xd8\xff\xe1")
    assert _written(JPEGS["exif"]).count(b"Exif\0\0") == 1


def test_other_gif_comments_are_kept():
    """The record comes before the comment of another program. Pillow reads both."""
    with Image.open(io.BytesIO(_written(GIFS["commented"]))) as image:
        ours, theirs = image.info["comment"].split(b"\n")
    assert json.loads(ours) == {"runapi_magic": RECORD}
    assert theirs == b'{"runapi":"of another"}'
    assert _read(GIFS["commented"]) is None


@pytest.mark.parametrize(("name", "flags"), [("lossless-alpha-bare", 0x18), ("odd", 0x08)])
def test_the_header_of_a_webp(name, flags):
    """A file without VP8X gets one with the flag for Exif, and for alpha if it has alpha."""
    written = _written(WEBPS[name])
    assert written[12:16] == b"VP8X"
    assert written[20] == flags


def test_the_version_of_a_gif():
    """A GIF87a, which has no comments, becomes a GIF89a."""
    assert _written(GIFS["first-version"]).startswith(b"GIF89a")


@every_kind
def test_unusual_texts(kind):
    """The record is exact for any text. The description has no NUL and no lone surrogates."""
    note = Note({"prompt": NASTY, NASTY: [NASTY, 1.5, True]}, NASTY, NASTY, 0.0)
    written = _written(ONE_OF_EACH[kind], note)
    assert _read(written) == note.record
    assert _shown(written) == _shown(ONE_OF_EACH[kind])


def test_descriptions_that_are_not_latin():
    """The description is UTF-8, in PNG and in Exif."""
    shown = NASTY.replace("\0", "?").replace("\udc00\ud83d", "??")
    note = Note({}, NASTY, "s", 0.0)
    with Image.open(io.BytesIO(_written(PNGS["RGB"], note))) as image:
        assert image.text["Description"] == shown
    first, _, _ = _exif(_written(JPEGS["RGB"], note))
    assert first[ExifTags.Base.ImageDescription].encode("latin-1").decode() == shown


@every_kind
@given(record=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.booleans())))
@PROPERTY
def test_any_record(kind, record):
    """Any record is read as it was written."""
    assert _read(_written(ONE_OF_EACH[kind], Note(record, "", "", 0))) == record


LONG = {
    "ascii": "The quick brown fox. " * 1523,
    "chinese": "".join(random.Random(1).choices([chr(c) for c in range(0x4E00, 0x5200)], k=32_000)),
    "emoji": "".join(random.Random(1).choices("🐈🐕🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵", k=32_000)),
}


@every_kind
@pytest.mark.parametrize("name", LONG)
def test_the_longest_prompts_fit(kind, name):
    """Prompts of 32,000 characters fit, in any script."""
    prompt = LONG[name]
    written = _written(ONE_OF_EACH[kind], Note({"prompt": prompt}, prompt, "s", 0.0))
    assert _read(written) == {"prompt": prompt}
    assert _shown(written) == _shown(ONE_OF_EACH[kind])


def test_a_long_description_is_cut_before_the_record():
    """In a JPEG, a long description is cut at a whole character."""
    prompt = LONG["chinese"]
    first, _, _ = _exif(_written(JPEGS["exif"], Note({"prompt": prompt}, prompt, "s", 0.0)))
    shown = first[ExifTags.Base.ImageDescription].encode("latin-1").decode()
    assert prompt.startswith(shown)
    assert len(prompt) > len(shown) > 10


@pytest.mark.parametrize("excess", range(-300, 40, 17))
def test_around_the_limit_of_a_jpeg(excess):
    """Near the limit of a JPEG, the record is complete and the image can be opened."""
    text = random.Random(1).randbytes(24_500 + excess // 2).hex() + "é" * 2_700
    written = _written(JPEGS["exif"], Note({"prompt": text}, text, "s", 0.0))
    assert _read(written) == {"prompt": text}
    assert _shown(written) == _shown(JPEGS["exif"])


def test_a_record_that_does_not_fit_a_jpeg():
    """A record that is too long is left out, and the older one too. The description is kept."""
    text = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=60_000)))
    written = _written(_written(JPEGS["exif"]), Note({"prompt": text}, "a cat", "s", 0.0))
    assert _read(written) is None
    assert _exif(written)[0][ExifTags.Base.ImageDescription] == "a cat"
    assert _written(written) == _written(JPEGS["exif"])


def test_a_jpeg_with_full_exif():
    """If the existing Exif data leaves no room, the file is not changed."""
    exif = _full_exif()
    exif[ExifTags.Base.Artist] = "x" * 65_100
    content = _saved(_noise(), "JPEG", exif=exif)
    assert _written(content) == content


@every_kind
def test_a_record_of_more_than_a_megabyte(kind):
    """A record above 1 MB is left out, and can be replaced later."""
    content = ONE_OF_EACH[kind]
    written = _written(_written(content), Note({"prompt": "x" * 1_000_000}, "d", "s", 0.0))
    assert _read(written) is None
    assert _written(written) == _written(content)
    assert _read(_written(content, Note({"p": "x" * 999_990}, "d", "s", 0.0))) is not None


@pytest.mark.parametrize("name", ["jpg-exif", "webp-exif", "png-RGB"])
def test_saved_again_with_pillow(name):
    """An image that Pillow saved with its texts still has the record."""
    with Image.open(io.BytesIO(_written(FILES[name]))) as image:
        texts = PngImagePlugin.PngInfo()
        for keyword, text in getattr(image, "text", {}).items():
            texts.add_text(keyword, text)
        again = _saved(image, image.format, exif=image.getexif(), pnginfo=texts)
    assert _read(again) == RECORD
    assert _read(_written(again, Note({"new": 1}, "", "", 0))) == {"new": 1}


@pytest.mark.posix
@every_kind
def test_the_file_is_replaced_in_one_step(kind):
    """The file keeps its mode, and no other file is left in the folder."""
    path = Path("folder/.u.part")
    path.parent.mkdir()
    path.with_name("..u.part.note").write_bytes(b"of an ended kernel")
    path.write_bytes(ONE_OF_EACH[kind])
    path.chmod(0o600)
    embed(path, kind, NOTE)
    assert [one.name for one in path.parent.iterdir()] == [".u.part"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


IHDR = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
OURS_IN_PNG = b"runapi_magic\0\0\0\0\0"
DAMAGED = {
    "empty": b"",
    "no-image": b"hello",
    "png-start": PNGS["RGB"][:20],
    "png-cut": PNGS["RGB"][:-14],
    "png-no-header": _png((b"IDAT", b""), (b"IEND", b"")),
    "png-length": _png(IHDR) + b"\xff\xff\xff\xffiTXt",
    "jpg-start": JPEGS["RGB"][:30],
    "jpg-no-marker": JPEGS["RGB"][:20] + b"zzzz" + JPEGS["RGB"][20:],
    "jpg-length": b"\xff\xd8\xff\xe0\x00\x01" + JPEGS["RGB"][2:],
    "jpg-end": b"\xff\xd8\xff\xd9" + JPEGS["RGB"],
    "jpg-exif": _saved(_noise(), "JPEG", exif=b"Exif\0\0XX*\0\x08\0\0\0"),
    "jpg-exif-cut": _saved(_noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
    "webp-cut": WEBPS["lossy"][:-20],
    "webp-empty": b"RIFF\x04\0\0\0WEBP",
    "webp-chunk": b"RIFF\x0e\0\0\0WEBPVP8X\0\0\0\0\0\0",
    "webp-unknown": b"RIFF\x0e\0\0\0WEBPABCD\x02\0\0\0zz",
    "webp-frame": b"RIFF\x10\0\0\0WEBPVP8 \x04\0\0\0zzzz",
    "gif-start": GIFS["one"][:12],
    "gif-palette": GIFS["one"][:30],
    "gif-block": GIFS["one"][:13] + b"zz",
    "gif-no-frame": b"GIF89a\x01\0\x01\0\0\0\0;;",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name):
    """A damaged file raises ValueError, is not changed and has no record."""
    path = Path("damaged")
    path.write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match="damaged"):
        embed(path, name.partition("-")[0].replace("empty", "png").replace("no", "png"), NOTE)
    assert path.read_bytes() == DAMAGED[name]
    assert extract(path) is None
    assert [one.name for one in Path().iterdir()] == ["damaged"]


@pytest.mark.parametrize("kind", ["jpg", "webp", "gif", "bmp"])
def test_another_format(kind):
    """A file in another format than the caller says is refused."""
    with pytest.raises(ValueError):
        _written(PNGS["RGB"], kind=kind)
    assert Path(".u.part").read_bytes() == PNGS["RGB"]


def _bomb():
    """Return a JPEG with a UserComment of 40 kB that decompresses to 40 MB."""
    packed = zlib.compress(b"[" * 40_000_000, 9)
    note = Note({"p": random.Random(1).randbytes(24_600).hex() * 2}, "", "", 0)
    written = _written(JPEGS["RGB"], note)
    at = written.index(bytes(8) + b"\x78\xda") + 8
    return written[:at] + packed + written[at + len(packed) :]


HOSTILE = {
    "compressed": _png(IHDR, (b"iTXt", b"runapi_magic\0\1\0\0\0" + zlib.compress(b"{}"))),
    "long": _png(IHDR, (b"iTXt", OURS_IN_PNG + b'{"a":"' + b"x" * 20_000_000 + b'"}')),
    "deep": _png(IHDR, (b"iTXt", OURS_IN_PNG + b"[" * 900_000)),
    "deep-object": _png(IHDR, (b"iTXt", OURS_IN_PNG + b'{"a":' * 150_000 + b"1" + b"}" * 150_000)),
    "number": _png(IHDR, (b"iTXt", OURS_IN_PNG + b'{"a":' + b"9" * 900_000 + b"}")),
    "list": _png(IHDR, (b"iTXt", OURS_IN_PNG + b"[1]")),
    "no-text": _png(IHDR, (b"iTXt", OURS_IN_PNG + b'{"\xff": 1}')),
    "checksum": _png(IHDR, (b"iTXt", OURS_IN_PNG + b'{"a":1}'))[:-1] + b"z",
    "many-chunks": _png(IHDR, *[(b"zzZz", b"")] * 1_000_000),
    "many-chunks-webp": b"RIFF" + struct.pack("<I", 8_000_004) + b"WEBP" + b"zzzz\0\0\0\0" * 10**6,
    "fill-bytes": b"\xff\xd8" + b"\xff" * 8_000_000,
    "gif-comments": b"GIF89a\x01\0\x01\0\0\0\0" + b"!\xfe" + b"\x01x" * 1_000_000,
    "long-gif-comment": b"GIF89a\x01\0\x01\0\0\0\0" + b"!\xfe"
    + (b"\xff" + bytes(255)) * 99_000 + b"\0,;",
    "exif-huge": b"RIFF" + struct.pack("<I", 9_000_012) + b"WEBPEXIF"
    + struct.pack("<I", 9_000_000) + bytes(9_000_000),
}  # fmt: skip


class _CountedFile(io.BufferedReader):
    """A file that counts its reads."""

    reads = 0

    def read(self, *size):
        self.reads += 1
        return super().read(*size)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, monkeypatch):
    """Long, deep and endless files have no record, and use little memory and few reads."""
    path = Path("hostile")
    path.write_bytes(HOSTILE[name])
    counted = _CountedFile(io.FileIO(path))
    monkeypatch.setattr(Path, "open", lambda *_: counted)
    tracemalloc.start()
    try:
        assert extract(path) is None
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert 0 < counted.reads <= 200_100


def test_a_decompression_bomb():
    """A UserComment of hundreds of megabytes is not decompressed."""
    path = Path("bomb")
    path.write_bytes(_bomb())
    tracemalloc.start()
    try:
        assert extract(path) is None
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["missing", "."])
def test_no_file(path):
    """A missing file or a folder has no record."""
    assert extract(Path(path)) is None


@every_kind
@given(data=st.data())
@PROPERTY
def test_mutated_files(kind, data):
    """For any damage, reading gives a record or None, and writing works or raises ValueError."""
    note = Note({"prompt": "é" * 30}, "a cat", "s", 0.0)
    content = bytearray(_written(ONE_OF_EACH[kind], note))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content) - 1, 700)) | st.integers(0, len(content)))
        length = data.draw(st.integers(0, 8))
        content[at : at + length] = data.draw(st.binary(max_size=8))
    found = _read(bytes(content))
    assert found is None or isinstance(found, dict)
    path = Path("mutated")
    path.write_bytes(content)
    try:
        embed(path, kind, note)
    except ValueError:
        assert path.read_bytes() == content
    else:
        assert extract(path) == note.record


@given(st.binary(max_size=300), st.sampled_from([b"", *(c[:40] for c in ONE_OF_EACH.values())]))
@PROPERTY
def test_any_bytes(tail, start):
    """Reading does not fail for any bytes."""
    assert _read(start + tail) is None
