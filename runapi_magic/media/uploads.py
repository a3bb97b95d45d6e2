"""Check image files and masks, and encode them for an upload.

PNG, JPEG and WEBP files are uploaded as they are. Other formats are converted to PNG.
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

_ACCEPTED = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "WEBP": "webp"}  # by the service
# Other formats that are read. Pillow has more, but EPS, for example, runs another program.
_CONVERTED = ("GIF", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM", "ICO")
_ENDINGS = {"jpg": {".jpg", ".jpeg"}, "png": {".png"}, "webp": {".webp"}}
_HEIC = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")
_SIDEWAYS = range(5, 9)  # Exif orientations that swap width and height
_USE = "Use a PNG, JPEG or WEBP image."


def check_file(content: bytes, label: str) -> str:
    """Check the header of a file. Return a note if the file will be converted before it is sent.

    The pixels are not decoded. ``encode_for_upload`` does that.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    image = _open(content, label)
    with image:
        note = _note(image, label)
        try:
            image.verify()
        except Exception as error:  # noqa: BLE001 (Pillow raises many exceptions for damaged files)
            raise _damaged(label, error) from None
    return note


def decode(content: bytes, label: str) -> Image:
    """Decode a file completely and return its first image.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    with _open(content, label) as image:
        return _load(image, label).copy()


def encode_for_upload(content: bytes, label: str, *, is_mask: bool = False) -> tuple[bytes, str]:
    """Decode a file completely, and return the bytes to upload and their type.

    Args:
        content: The bytes of the file.
        label: The name that the user knows, for messages.
        is_mask: Convert it to PNG with an alpha channel, unless it is that already.

    Returns:
        The same bytes if the service accepts them, else a PNG; and ``png``, ``jpg`` or ``webp``.

    Raises:
        InvalidRequestError: It is not an image, is damaged or has too many pixels.
    """
    with _open(content, label) as image:
        is_accepted = image.format == "PNG" and image.mode in {"LA", "RGBA"} if is_mask else True
        if is_accepted and not _note(image, label):
            if image.format != "PNG":
                image.draft(None, (1, 1))  # read all bytes of a JPEG, but decode few pixels
            _load(image, label)
            return content, _ACCEPTED[image.format or ""]
        shown: Image = _load(image, label)
        if is_mask:
            shown = as_shown(shown).convert("RGBA")
        return encode_image(shown), "png"


def upload_name(path: Path | None, kind: str) -> str:
    """Return a file name for an upload, with the ending of its type."""
    if path is None:
        return f"picture.{kind}"
    fits = path.suffix.lower() in _ENDINGS[kind]
    return path.name if fits else f"{path.stem}.{kind}"


def check_mask(mask: bytes, label: str, source: bytes | None) -> None:
    """Check that a mask has the size of its source and is partly transparent.

    Args:
        mask: The bytes of the mask.
        label: The name that the user knows, for messages.
        source: The bytes of the source; None if only its URL is known.

    Raises:
        InvalidRequestError: The mask has another size, or is not partly transparent.
    """
    image = as_shown(decode(mask, label), strict=False)
    todo = "Use a PNG with the size of the source that is transparent where the image may change."
    low, high = image.convert("RGBA").getchannel("A").getextrema()
    if low != 0:
        raise InvalidRequestError(f"The mask {label} has no transparent part.", todo=todo)
    if high == 0:
        raise InvalidRequestError(f"The mask {label} is completely transparent.", todo=todo)
    if source is None:
        return
    with _open(source, "The source") as opened:
        size = _upright_size(opened)
    if image.size != size:
        raise InvalidRequestError(
            f"The mask {label} has {image.width} x {image.height} pixels, but its source has"
            f" {size[0]} x {size[1]}.",
            todo=todo,
        )


def _open(content: bytes, label: str) -> ImageFile:
    """Open a file by its bytes. ``Image.open`` would try every format and warn of large images."""
    from PIL import Image

    damage: Exception | None = None
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for name in (*_ACCEPTED, *_CONVERTED):
            factory, accept = Image.OPEN.get(name, (None, None))
            if factory is None or accept is None or accept(content[:16]) is not True:
                continue
            try:
                image = factory(io.BytesIO(content), "")
            except Exception as error:  # noqa: BLE001 (Pillow raises many exceptions for damaged files)
                damage = error
            else:
                check_size(image.size, label)
                return image
    if content[4:12].startswith(_HEIC):
        raise InvalidRequestError(
            f"{label} is a HEIC image, which Pillow cannot read without a plugin.",
            todo="Save it as JPEG, or pip install pillow-heif and run"
            " pillow_heif.register_heif_opener().",
        )
    if damage is not None:
        raise _damaged(label, damage)
    raise InvalidRequestError(f"{label} is not an image in a supported format.", todo=_USE)


def _note(image: ImageFile, label: str) -> str:
    """Return a note on how an image is converted; empty if it is not converted."""
    name = image.format or ""
    if name != "MPO" and getattr(image, "is_animated", False):
        return f"{label} has {getattr(image, 'n_frames', 2)} frames. The first is sent as a PNG."
    if name not in _ACCEPTED:
        return f"{label} is a {name} file. It is sent as a PNG."
    if image.mode == "CMYK":
        return f"{label} has CMYK colours. It is sent as an RGB PNG."
    return ""


def _load(image: ImageFile, label: str) -> ImageFile:
    try:
        image.load()
    except Exception as error:  # noqa: BLE001 (Pillow raises many exceptions for damaged files)
        raise _damaged(label, error) from None
    return image


def _damaged(label: str, error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"{label} is damaged or incomplete ({type(error).__name__}: {error}).",
        todo=f"Use a complete copy of the file. {_USE}",
    )


def _upright_size(image: ImageFile) -> tuple[int, int]:
    return image.size[::-1] if orientation_of(image) in _SIDEWAYS else image.size
