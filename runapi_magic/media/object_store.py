"""Object stores: images at an fsspec URL such as ``s3://bucket/pictures``, and their local copies.

fsspec is imported only for URLs, not for folders. All functions block, so call them in a thread.
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
    """The location where images are saved.

    Attributes:
        folder: The local folder. With an object store, it is for the local copies.
        url: The URL in the store, without a slash at the end; empty if there is no store.
    """

    folder: Path
    url: str = ""


def save_location(image_dir: str, data: Path) -> SaveLocation:
    """Return the location that ``image_dir`` names.

    Args:
        image_dir: A folder relative to the working directory, or an fsspec URL.
        data: The data folder. Local copies of images in a store are in its folder ``pictures``.
    """
    if is_url(image_dir):
        return SaveLocation(data / "pictures", image_dir.rstrip("/"))
    return SaveLocation(Path(image_dir).expanduser().absolute())


def resolve_image_dir(image_dir: str, named_in: Path | None) -> str:
    """Return ``image_dir`` as an absolute folder, or the URL of a store.

    A folder that was set is relative to the working directory of that time. The default is relative
    to the current one. A request keeps the location that it has when it is created.

    Args:
        image_dir: A folder or an fsspec URL.
        named_in: The working directory when it was set; None for the default.

    Raises:
        ConfigurationError: The user in the path does not exist, or the working directory was
            deleted.
    """
    if is_url(image_dir):
        return image_dir
    try:
        folder = Path(image_dir).expanduser()
        return str((named_in or Path.cwd()) / folder)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(
            f"The folder for images, {image_dir}, cannot be found ({error}).",
            todo="Set %config RunAPIMagics.image_dir to an absolute path.",
        ) from None


def is_url(location: str) -> bool:
    """Whether a location is in a store, not in a folder."""
    return "://" in location


def check_image_dir(image_dir: str) -> None:
    """Check whether ``image_dir`` can be used. Nothing is sent.

    Raises:
        ConfigurationError: It is a URL that is not valid or contains a secret, or its store cannot
            be opened, for example because a package is missing.
    """
    if not is_url(image_dir):
        return
    try:
        parts = urlsplit(image_dir)
    except ValueError:  # its message may contain a password
        raise ConfigurationError(
            "image_dir is not a valid URL.", todo="Use a URL such as s3://bucket/pictures."
        ) from None
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(
            "image_dir contains a user name, a password or a query, which captions would show.",
            todo="Store the credentials where the client of the store reads them (for S3:"
            " ~/.aws/credentials or AWS_* variables).",
        )
    _open_store(image_dir)


def check_writable(store: str) -> None:
    """Write a small object to a store and delete it.

    Raises:
        ConfigurationError: The store cannot be opened or written.
    """
    files, folder = _open_store(store)
    try:
        with _translate_errors(f"The store {store} cannot be written to"):
            target = f"{folder.rstrip('/')}/.write-test-{secrets.token_hex(8)}"
            files.pipe_file(target, b"runapi-magic")
            with suppress(Exception):  # the user may not be allowed to delete
                files.rm(target)
    except DownloadError as error:
        raise ConfigurationError(
            error.what,
            todo="Check the store's credentials and address (RunAPIMagics.image_dir), then run the"
            " cell again.",
        ) from None


def put(path: Path, digest: str, store: str) -> str:
    """Copy an image to a store and return its URL. Another file is never replaced.

    Args:
        path: The local copy.
        digest: Its hex SHA-256.
        store: The URL of the folder in the store.

    Raises:
        DownloadError: The store cannot be written.
    """
    with _translate_errors(f"The store {store} cannot be written to"):
        files, folder = _open_store(store)
        number = 1
        while True:
            name = path.name if number == 1 else f"{path.stem}-{number}{path.suffix}"
            target = f"{folder.rstrip('/')}/{name}"
            if not files.exists(target):
                with suppress(FileExistsError):  # another program was faster
                    files.put_file(str(path), target, mode="create")
                    return f"{store}/{name}"
            if _digest(files, target) == digest:
                return f"{store}/{name}"
            number += 1


def download(location: str, path: Path, digest: str) -> None:
    """Copy an image from a store to the local disk.

    Args:
        location: Its URL in the store.
        path: Its path on the disk.
        digest: Its hex SHA-256.

    Raises:
        DownloadError: It was deleted or changed, or cannot be read.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _translate_errors(f"The image cannot be read from {location}"):
            files, source = _open_store(location)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            files.get_file(source, str(part))
            with part.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise DownloadError(f"The image at {location} was changed after it was saved.")
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
    """Return the file system of a URL and the path in it.

    Raises:
        ConfigurationError: The store cannot be opened.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ConfigurationError(
            f"{url} cannot be used: the package fsspec for object stores is not installed.",
            todo="pip install 'runapi-magic[stores]' and the client of the store (s3fs for s3://,"
            " gcsfs for gs://).",
        ) from None
    options = {"auto_mkdir": True} if urlsplit(url).scheme in {"file", "local"} else {}
    try:
        files, path = url_to_fs(url, **options)
    except Exception as error:  # noqa: BLE001 (a missing client, an unknown kind of store, no connection)
        raise ConfigurationError(
            f"{url} cannot be used ({type(error).__name__}: {error}).",
            todo="Install the package that the message names, check the store's credentials and"
            " address, or use another location: %config RunAPIMagics.image_dir = ...",
        ) from None
    return files, str(path)


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except ConfigurationError as error:
        raise DownloadError(error.what, todo=f"{error.todo}\nThen run %runapi resume.") from None
    except Exception as error:  # noqa: BLE001 (every kind of store has its own exceptions)
        reason = str(error).strip().partition("\n")[0]
        raise DownloadError(
            f"{what} ({type(error).__name__}{reason and ': ' + reason}).",
            todo="Check the store's credentials and address (RunAPIMagics.image_dir), then run"
            " %runapi resume.",
        ) from None
