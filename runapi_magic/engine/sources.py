"""Turn images, files, URLs and variables into the sources of a request."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from runapi_magic.core.request import Source
from runapi_magic.core.templates import is_reference, look_up, unwrap
from runapi_magic.core.text import shorten
from runapi_magic.engine.generation import Generation
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import short_path
from runapi_magic.media.from_python import encode_value, is_image_like
from runapi_magic.media.uploads import check_file, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

_LONGEST_LABEL, _LONGEST_PATH = 60, 300  # characters
LOCAL_KINDS = (
    "a path, a GeneratedImage, a Generation, a Pillow image, a numpy array,"
    " a matplotlib figure or Axes, an open file or the bytes of an image"
)
_KINDS = f"a URL, {LOCAL_KINDS}"


def find_source(text: str, namespace: Mapping[str, Any]) -> Source:
    """Return the source for a word in a cell: a URL, a variable or a path.

    ``{name}`` and ``$name`` also mean the variable, unless a file has this name.

    Raises:
        InvalidRequestError: There is no such variable or file, or it is not an image.
    """
    if _is_url(text):
        return as_source(text)
    text = text if _is_file(text) else unwrap(text)
    if is_reference(text):
        try:
            value = look_up(text, namespace)
        except LookupError:
            if not _is_file(text):
                raise InvalidRequestError(
                    f'There is no variable or file "{text}".',
                    todo=f"Use {_KINDS}. A variable may have dots and indexes: cat.images[1]."
                    " Put a path with spaces in quotes.",
                ) from None
        else:
            return as_source(value, label=text)
    return as_source(text)


def image_variables(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of a user's variables that contain images, as they were first assigned."""
    return [
        name
        for name, value in namespace.items()
        if not name.startswith("_")
        and (isinstance(value, Generation | GeneratedImage) or is_image_like(value))
    ]


def as_source(value: Any, *, label: str | None = None, kinds: str = _KINDS) -> Source:
    """Return the source for a value; local images are read and checked.

    Args:
        value: A URL, a path, a GeneratedImage, a Generation, or any value for ``encode_value``.
        label: The user's name for it.
        kinds: The allowed kinds of values, for the error message.

    Raises:
        InvalidRequestError: It is not an image, or it cannot be read.
    """
    source = _from_generated(value, label) or _from_text(value, label) or _from_object(value, label)
    if source is None:
        raise InvalidRequestError(
            f"{label or 'The source'} is of type {type(value).__name__}, which is not an image.",
            todo=f"Use {kinds}.",
        )
    return source


def as_sources(values: Any) -> list[Source]:
    """Return the sources for one value, for a list of values, or for None.

    Raises:
        InvalidRequestError: One of them is not an image, or it cannot be read.
    """
    return [as_source(value) for value in as_list(values)]


def as_list(values: Any) -> list[Any]:
    """Return source images as a list: an array is one image, and None means no image."""
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple) else [values]


def as_many(values: Any) -> list[Any]:
    """Return images to edit as a list of one or more.

    Raises:
        InvalidRequestError: The list is empty: the request would generate a new image.
    """
    many = [values] if values is None else as_list(values)
    if not many:
        raise InvalidRequestError(
            "There is no image to edit: the list is empty.",
            todo="Check how the list is filled. For a new image, use generate.",
        )
    return many


def open_source(source: Source) -> Image:
    """Return a source as a loaded Pillow image.

    Raises:
        InvalidRequestError: It is a URL, it is not finished, or its file is missing or damaged.
    """
    if source.url is not None:
        raise InvalidRequestError(
            f"{source.label} is a URL, which is not downloaded for this.",
            todo="Save the image, and use its file.",
        )
    if source.pending is not None:
        raise InvalidRequestError(
            f"There is no image of {source.label} yet.", todo="Await the Generation first."
        )
    content = source.content if source.content is not None else _read(source.path)
    return decode(content, source.label)


def unreadable_file_error(path: Path, error: Exception) -> InvalidRequestError:
    """Return the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or error  # str(error) contains the path again
    shown = shorten(str(path), _LONGEST_PATH)
    return InvalidRequestError(
        f"There is no file {shown}."
        if isinstance(error, FileNotFoundError)
        else f"The file {shown} cannot be read ({reason}).",
        todo="Check the path. A relative path starts at the notebook's folder.",
    )


def _from_generated(value: Any, label: str | None) -> Source | None:
    if isinstance(value, Source):
        return value
    if isinstance(value, Generation):
        if not value.is_done and not value.images:
            return Source(shorten(label or value.request.title, _LONGEST_LABEL), "", pending=value)
        value = value.image
    if isinstance(value, GeneratedImage):
        return _from_file(value.ensure_local(), label or value.request.title, value)
    return None


def _from_text(value: Any, label: str | None) -> Source | None:
    if isinstance(value, str) and _is_url(value):
        digest = hashlib.sha256(f"url:{value}".encode()).hexdigest()
        return Source(shorten(label or value, _LONGEST_LABEL), digest, url=value)
    if isinstance(value, str) and value[:5].lower() == "data:":
        return _from_bytes(_read_data_url(value), label or "The data URL")
    if isinstance(value, str | os.PathLike):
        text = os.fsdecode(value)
        return _from_file(Path(text), label or text)
    return None


def _read_data_url(url: str) -> bytes:
    head, _, data = url[5:].partition(",")
    content = unquote_to_bytes(data)
    if not head.lower().endswith(";base64"):
        return content
    try:
        return base64.b64decode(content)
    except ValueError:
        raise InvalidRequestError(
            "The data URL is damaged or truncated.", todo="Copy all of it, or use a file."
        ) from None


def _from_object(value: Any, label: str | None) -> Source | None:
    content = encode_value(value)
    return None if content is None else _from_bytes(content, label or "image")


def _is_url(text: str) -> bool:
    scheme, separator, _ = text.partition("://")
    if not separator:
        return False
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if scheme.lower() in {"http", "https"} and host:
        return True
    raise InvalidRequestError(
        f"{shorten(text, _LONGEST_LABEL)} is not an http or https URL.", todo=f"Use {_KINDS}."
    )


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, an unknown user
        return False


def _from_file(path: Path, label: str, image: GeneratedImage | None = None) -> Source:
    content = _read(path)
    note = check_file(content, shorten(short_path(path), _LONGEST_LABEL))
    digest = hashlib.sha256(content).hexdigest()
    # Absolute, because the working directory may change.
    path = path.expanduser().absolute()
    return Source(shorten(label, _LONGEST_LABEL), digest, path=path, image=image, note=note)


def _read(path: Path | None) -> bytes:
    assert path is not None, "a source without URL and content is a file"
    try:
        return path.expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable_file_error(path, error) from None


def _from_bytes(content: bytes, label: str) -> Source:
    label = shorten(label, _LONGEST_LABEL)
    note = check_file(content, label)
    return Source(label, hashlib.sha256(content).hexdigest(), content=content, note=note)
