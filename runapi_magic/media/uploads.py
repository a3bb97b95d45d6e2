"""Image files as the service takes them: whole, PNG, JPEG or WEBP, and a mask that masks.

A file that is right goes up byte by byte. Other formats are converted to PNG.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.from_python import as_shown, encode_image, orientation_of
from runapi_magic.media.pixel_values import check_size

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_TAKEN = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "WEBP": "webp"}  # formats of the service
# What else is read. Not all that Pillow reads: EPS, for example, runs another program.
_CONVERTED = ("GIF", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM", "ICO")
_ENDINGS = {"jpg": {".jpg", ".jpeg"}, "png": {".png"}, "webp": {".webp"}}
_HEIC = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")
_SIDEWAYS = range(5, 9)  # Exif orientations that swap width and height
_USE = "Use a PNG, JPEG or WEBP picture."


def check_file(content: bytes, label: str) -> str:
    """Check what a file is, by its header; return a note where it is converted before it is sent.

    The pixels are not decoded: ``encode_for_upload`` does that.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    image = _open(content, label)
    with image:
        note = _note(image, label)
        try:
            image.verify()
        except Exception as error:  # noqa: BLE001 (damaged files make Pillow's decoders raise anything)
            raise _damaged(label, error) from None
    return note


def decode(content: bytes, label: str) -> Image:
    """Return the image in a file, decoded completely; the first one of several.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    with _open(content, label) as image:
        return _load(image, label).copy()


def encode_for_upload(content: bytes, label: str, *, is_mask: bool = False) -> tuple[bytes, str]:
    """Return the bytes to send for a file, decoded completely before, and their kind.

    Args:
        content: The file's bytes.
        label: What the user called it.
        is_mask: Convert to PNG with an alpha channel, where it is not that already.

    Returns:
        The same bytes where the service takes them, else a PNG; and ``png``, ``jpg`` or ``webp``.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    with _open(content, label) as image:
        is_fit = image.format == "PNG" and image.mode in {"LA", "RGBA"} if is_mask else True
        if is_fit and not _note(image, label):
            if image.format != "PNG":
                image.draft(None, (1, 1))  # a JPEG: all bytes are read, and few pixels made
            _load(image, label)
            return content, _TAKEN[image.format or ""]
        shown: Image = _load(image, label)
        if is_mask:
            shown = as_shown(shown).convert("RGBA")
        return encode_image(shown), "png"


def upload_name(path: Path | None, kind: str) -> str:
    """Return a name for an upload whose ending says what it is."""
    if path is None:
        return f"picture.{kind}"
    fits = path.suffix.lower() in _ENDINGS[kind]
    return path.name if fits else f"{path.stem}.{kind}"


def check_mask(mask: bytes, label: str, source: bytes | None) -> None:
    """Check that a mask is of its source's size, and transparent in one part, where the edit is.

    Args:
        mask: The mask's file.
        label: What the user called it.
        source: The file of the picture that is edited; None where only its address is known.

    Raises:
        InvalidRequestError: It is not.
    """
    image = as_shown(decode(mask, label), strict=False)
    todo = "Use a PNG of the source's size that is transparent where the picture is to change."
    low, high = image.convert("RGBA").getchannel("A").getextrema()
    if low != 0:
        raise InvalidRequestError(f"The mask {label} has no transparent part.", todo=todo)
    if high == 0:
        raise InvalidRequestError(f"The mask {label} is transparent everywhere.", todo=todo)
    if source is None:
        return
    with _open(source, "The source") as opened:
        size = _upright_size(opened)
    if image.size != size:
        raise InvalidRequestError(
            f"The mask {label} has {image.width} x {image.height} pixels, and its source"
            f" {size[0]} x {size[1]}.",
            todo=todo,
        )


def _open(content: bytes, label: str) -> ImageFile:
    """Open a file by its bytes; ``Image.open`` would try every format, and warn of large ones."""
    from PIL import Image

    damage: Exception | None = None
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for name in (*_TAKEN, *_CONVERTED):
            factory, accept = Image.OPEN.get(name, (None, None))
            if factory is None or accept is None or accept(content[:16]) is not True:
                continue
            try:
                image = factory(io.BytesIO(content), "")
            except Exception as error:  # noqa: BLE001 (damaged files make Pillow raise anything)
                damage = error
            else:
                check_size(image.size, label)
                return image
    if content[4:12].startswith(_HEIC):
        raise InvalidRequestError(
            f"{label} is a HEIC image, which Pillow cannot read by itself.",
            todo="Save it as JPEG; or pip install pillow-heif, and run"
            " pillow_heif.register_heif_opener().",
        )
    if damage is not None:
        raise _damaged(label, damage)
    raise InvalidRequestError(f"{label} is not an image that can be read here.", todo=_USE)


def _note(image: ImageFile, label: str) -> str:
    """Return how an image is converted for the service; empty where it is not."""
    name = image.format or ""
    if name != "MPO" and getattr(image, "is_animated", False):
        return f"{label} has {getattr(image, 'n_frames', 2)} frames; the first is sent, as a PNG."
    if name not in _TAKEN:
        return f"{label} is a {name} file; it is sent as a PNG."
    if image.mode == "CMYK":
        return f"{label} has CMYK colours; it is sent as an RGB PNG."
    return ""


def _load(image: ImageFile, label: str) -> ImageFile:
    try:
        image.load()
    except Exception as error:  # noqa: BLE001 (damaged files make Pillow's decoders raise anything)
        raise _damaged(label, error) from None
    return image


def _damaged(label: str, error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"{label} is damaged or cut off ({type(error).__name__}: {error}).",
        todo=f"Use a complete copy of it. {_USE}",
    )


def _upright_size(image: ImageFile) -> tuple[int, int]:
    return image.size[::-1] if orientation_of(image) in _SIDEWAYS else image.size
