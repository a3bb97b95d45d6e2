"""Object stores: pictures at an fsspec URL such as ``s3://bucket/pictures``, beside a local copy.

What is given as a folder stays one: everything here that meets no ``://`` costs nothing, and
fsspec is imported with the first URL. Methods are blocking: not for the loop.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runapi_magic.errors import ConfigurationError, DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class SaveLocation:
    """Where pictures go.

    Attributes:
        folder: The local folder; before a store, the one for the local copies.
        url: The store's URL without a slash at its end; empty where there is none.
    """

    folder: Path
    url: str = ""


def save_location(image_dir: str, data: Path) -> SaveLocation:
    """Return the place that ``image_dir`` names.

    Args:
        image_dir: A folder, relative to the working directory, or an fsspec URL.
        data: The data folder; local copies of what is in a store are in its ``pictures``.
    """
    if is_url(image_dir):
        return SaveLocation(data / "pictures", image_dir.rstrip("/"))
    return SaveLocation(Path(image_dir).expanduser().absolute())


def resolve_image_dir(image_dir: str, named_in: Path | None) -> str:
    """Return the place that ``image_dir`` means now: a store's URL, or an absolute folder.

    A folder that was set starts where the working directory was then, the default where it is now.
    A request is told its place when it is made, and keeps it.

    Args:
        image_dir: A folder, or an fsspec URL.
        named_in: The working directory in which it was set; None for the default.

    Raises:
        ConfigurationError: There is no such user, or no working directory any more.
    """
    if is_url(image_dir):
        return image_dir
    try:
        folder = Path(image_dir).expanduser()
        return str((named_in or Path.cwd()) / folder)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(
            f"The folder for pictures, {image_dir}, cannot be found ({error}).",
            todo="Set %config RunAPIMagics.image_dir to an absolute path.",
        ) from None


def is_url(place: str) -> bool:
    """Whether a place is in a store, and not a folder."""
    return "://" in place


def check_image_dir(image_dir: str) -> None:
    """Find out whether pictures can be put there at all; nothing is sent for it.

    Raises:
        ConfigurationError: It is a URL, and fsspec, or its part for this kind of store, is missing;
            or the URL holds a secret.
    """
    if not is_url(image_dir):
        return
    parts = urlsplit(image_dir)
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(
            "image_dir holds more than an address: it would be shown in captions.",
            todo="Keep the store's credentials where its client looks for them (for S3:"
            " ~/.aws/credentials or AWS_* variables).",
        )
    _open_store(image_dir)


def check_writable(store: str) -> None:
    """Write a small object to a store and delete it.

    Raises:
        ConfigurationError: The store does not take it.
    """
    try:
        with _in_words(f"The store {store} cannot be written to"):
            files, folder = _open_store(store)
            target = f"{folder.rstrip('/')}/.write-test-{secrets.token_hex(8)}"
            files.pipe_file(target, b"runapi-magic")
            with suppress(Exception):  # who may write may not always delete
                files.rm(target)
    except DownloadError as error:
        raise ConfigurationError(
            error.what,
            todo="Check the store's credentials and address (RunAPIMagics.image_dir), then run the"
            " cell again.",
        ) from None


def put(path: Path, digest: str, store: str) -> str:
    """Copy a picture to a store under its name, never on top of another file; return its URL.

    Args:
        path: The local copy.
        digest: Hex SHA-256 of its bytes.
        store: The store's URL.

    Raises:
        DownloadError: The store cannot be written to.
    """
    with _in_words(f"The store {store} cannot be written to"):
        files, folder = _open_store(store)
        number = 1
        while True:
            name = path.name if number == 1 else f"{path.stem}-{number}{path.suffix}"
            target = f"{folder.rstrip('/')}/{name}"
            if not files.exists(target):
                with suppress(FileExistsError):  # somebody was faster, and this store says so
                    files.put_file(str(path), target, mode="create")
                    return f"{store}/{name}"
            if _digest(files, target) == digest:
                return f"{store}/{name}"
            number += 1


def download(location: str, path: Path, digest: str) -> None:
    """Copy a picture from a store to its place on the local disk, in one step.

    Args:
        location: Its URL in the store.
        path: Where it was on the disk.
        digest: Hex SHA-256 of its bytes.

    Raises:
        DownloadError: It is not there any more, changed, or cannot be read.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _in_words(f"The picture cannot be read from {location}"):
            files, source = _open_store(location)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            files.get_file(source, str(part))
            with part.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise DownloadError(f"The picture at {location} is not what was put there.")
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _digest(files: Any, target: str) -> str:
    digest = hashlib.sha256()
    with files.open(target, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _open_store(url: str) -> tuple[Any, str]:
    """Return the file system that a URL belongs to, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ConfigurationError(
            f"image_dir is {url}, and for an object store fsspec is missing.",
            todo="pip install 'runapi-magic[stores]', and the client of the store (for s3://: s3fs,"
            " for gs://: gcsfs).",
        ) from None
    options = {"auto_mkdir": True} if urlsplit(url).scheme in {"file", "local"} else {}
    try:
        files, path = url_to_fs(url, **options)
    except (ImportError, ValueError) as error:  # no client for it; no such kind of store
        raise ConfigurationError(
            f"image_dir is {url}, which cannot be used: {error}.",
            todo="Install what it names, or choose another place:"
            " %config RunAPIMagics.image_dir = ...",
        ) from None
    return files, str(path)


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except ConfigurationError as error:
        raise DownloadError(error.what, todo=f"{error.todo}\nThen: %runapi resume.") from None
    except Exception as error:  # noqa: BLE001 (every store has errors of its own)
        reason = str(error).strip().partition("\n")[0]
        raise DownloadError(
            f"{what} ({type(error).__name__}{reason and ': ' + reason}).",
            todo="See to the store's credentials and address (RunAPIMagics.image_dir), then"
            " %runapi resume.",
        ) from None
