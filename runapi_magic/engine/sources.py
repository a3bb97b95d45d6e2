"""Anything picture-like that a user names, as a Source of a request."""

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
    " a matplotlib figure or Axes, an open file or the bytes of a picture"
)
_KINDS = f"a URL, {LOCAL_KINDS}"


def find_source(text: str, namespace: Mapping[str, Any]) -> Source:
    """Return the source that a word in a cell stands for: a URL, a variable, or a path.

    ``{name}`` and ``$name`` stand for the variable, too, where no file has such a name.

    Raises:
        InvalidRequestError: There is no such thing, or it is no picture.
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
                    f"There is no variable, and no file, {text}.",
                    todo=f"Name {_KINDS}; a variable may be dotted or indexed: cat.images[1]."
                    " A path with blanks stands in quotes.",
                ) from None
        else:
            return as_source(value, label=text)
    return as_source(text)


def picture_variables(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of a user's variables that hold pictures, the newest last."""
    return [
        name
        for name, value in namespace.items()
        if not name.startswith("_")
        and (isinstance(value, Generation | GeneratedImage) or is_image_like(value))
    ]


def as_source(value: Any, *, label: str | None = None, kinds: str = _KINDS) -> Source:
    """Return a source for a value; local pictures are read and checked.

    Args:
        value: A URL, a path, a GeneratedImage, a Generation, or what ``encode_value`` takes.
        label: What the user called it.
        kinds: What may be used, in words.

    Raises:
        InvalidRequestError: It is no picture, or cannot be read.
    """
    source = _from_ours(value, label) or _from_text(value, label) or _from_picture(value, label)
    if source is None:
        raise InvalidRequestError(
            f"{label or 'The source'} is of type {type(value).__name__}, which is no picture.",
            todo=f"Use {kinds}.",
        )
    return source


def as_sources(values: Any) -> list[Source]:
    """Return the sources for one value, for a list of them, or for None.

    Raises:
        InvalidRequestError: One of them is no picture, or cannot be read.
    """
    return [as_source(value) for value in as_list(values)]


def as_list(values: Any) -> list[Any]:
    """Return pictures to start from as a list: an array is one picture, and None is no picture."""
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple) else [values]


def as_many(values: Any) -> list[Any]:
    """Return what is to be edited as a list of one or more.

    Raises:
        InvalidRequestError: It is an empty list: its edit would be a new picture.
    """
    many = [values] if values is None else as_list(values)
    if not many:
        raise InvalidRequestError(
            "There is no picture to edit: the list is empty.",
            todo="Check what fills it; for a new picture use generate.",
        )
    return many


def open_source(source: Source) -> Image:
    """Return a source as a loaded Pillow image.

    Raises:
        InvalidRequestError: It is a URL, still under way, or its file is gone or damaged.
    """
    if source.url is not None:
        raise InvalidRequestError(
            f"{source.label} is an address, and is not fetched for this.",
            todo="Save the picture, and name its file.",
        )
    if source.pending is not None:
        raise InvalidRequestError(
            f"There is no picture of {source.label} yet.", todo="Wait for it: await it first."
        )
    content = source.content if source.content is not None else _read(source.path)
    return decode(content, source.label)


def unreadable(path: Path, error: Exception) -> InvalidRequestError:
    """Return what to say of a file that cannot be read."""
    why = getattr(error, "strerror", None) or error  # the whole error names the path once more
    shown = shorten(str(path), _LONGEST_PATH)
    return InvalidRequestError(
        f"There is no file {shown}."
        if isinstance(error, FileNotFoundError)
        else f"The file {shown} cannot be read ({why}).",
        todo="Check the path; it starts at the notebook's folder.",
    )


def _from_ours(value: Any, label: str | None) -> Source | None:
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
            "The data URL is damaged or cut off.", todo="Copy it as a whole, or name a file."
        ) from None


def _from_picture(value: Any, label: str | None) -> Source | None:
    content = encode_value(value)
    return None if content is None else _from_bytes(content, label or "picture")


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
        f"{shorten(text, _LONGEST_LABEL)} is no http or https address.", todo=f"Use {_KINDS}."
    )


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user
        return False


def _from_file(path: Path, label: str, image: GeneratedImage | None = None) -> Source:
    content = _read(path)
    note = check_file(content, shorten(short_path(path), _LONGEST_LABEL))
    digest = hashlib.sha256(content).hexdigest()
    # Absolute: it means the same file wherever the working directory is later.
    path = path.expanduser().absolute()
    return Source(shorten(label, _LONGEST_LABEL), digest, path=path, image=image, note=note)


def _read(path: Path | None) -> bytes:
    assert path is not None, "a source is a file where it is nothing else"
    try:
        return path.expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable(path, error) from None


def _from_bytes(content: bytes, label: str) -> Source:
    label = shorten(label, _LONGEST_LABEL)
    note = check_file(content, label)
    return Source(label, hashlib.sha256(content).hexdigest(), content=content, note=note)
