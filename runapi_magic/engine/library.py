"""What was made before: trees of edits, the cells that make a picture again, pictures by file."""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.engine.codegen import cell_text
from runapi_magic.engine.lineage import plant
from runapi_magic.engine.provenance import SOFTWARE, public_title, restore
from runapi_magic.engine.sources import unreadable
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import is_intact, link_or_rename, short_path
from runapi_magic.media.from_python import as_shown, upright
from runapi_magic.media.metadata import embed, extract
from runapi_magic.media.metadata_note import Note
from runapi_magic.media.metrics import Quality, measure
from runapi_magic.media.preview import open_image_file
from runapi_magic.media.thumbnails import LONGEST_SIDE, flatten, read_small

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from runapi_magic.engine.image import Editor, GeneratedImage
    from runapi_magic.engine.image_store import ImageStore
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.journal.history import History
    from runapi_magic.journal.tables import StoredImage
    from runapi_magic.media.thumbnails import Thumbnails

_JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}  # 4:4:4, colours as sharp as light
_QUALITY = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": {"quality": 95}, ".avif": {"quality": 95}}
_WITH_PROFILE = frozenset({"P", "RGB", "RGBA"})  # modes that keep their profile in any format
_KINDS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".gif": "gif"}


class Library:
    """The pictures that were made before. Methods are blocking and may be called from any thread.

    All raise JournalError where the journal cannot be read.

    Args:
        history: Finds pictures in the journal.
        image_store: Makes pictures of rows.
        thumbnails: Small pictures.
        editor: What pictures are edited with.
        megapixels: Returns the largest picture to decode, in millions of pixels.
    """

    def __init__(
        self,
        history: History,
        image_store: ImageStore,
        thumbnails: Thumbnails,
        editor: Editor,
        megapixels: Callable[[], float],
    ) -> None:
        self._history = history
        self._image_store = image_store
        self._thumbnails = thumbnails
        self._editor = editor
        self._megapixels = megapixels

    def find(self, image_id: str) -> GeneratedImage | None:
        """Return the picture with this id."""
        stored = self._history.image(image_id)
        return None if stored is None else self._image_store.restore(stored)

    def prepare(self, image: GeneratedImage) -> None:
        """See to it that a picture can be shown at once.

        Raises:
            DownloadError: Its file is gone or damaged.
        """
        image.prepare(self._image_store.limits())

    def page(
        self, search: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[GeneratedImage], int]:
        """Return a page of pictures, newest first, and how many there are on all pages.

        Args:
            search: Words that must all be in prompt or model.
            limit: Most pictures of a page.
            offset: Pictures to leave out first.
        """
        found = self._history.images(search, limit=limit, offset=offset)
        return [self._image_store.restore(row) for row in found], self._history.count(search)

    def thumbnail(self, image: GeneratedImage) -> bytes:
        """Return a small JPEG of a picture; a grey one where its file is gone."""
        return self._thumbnails.get(image.path, image.digest)

    def small(self, image: GeneratedImage, side: int) -> Image:
        """Return a picture of at most so many pixels on its longest side.

        Where its file is gone it is the thumbnail, or a grey one.
        """
        if side > LONGEST_SIDE:
            with suppress(InvalidRequestError):  # gone or changed since
                return read_small(image.path, side, megapixels=self._megapixels())
        from PIL import Image as PillowImage

        return PillowImage.open(io.BytesIO(self.thumbnail(image)))

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the trees of edits that pictures stand in as one, with what is measured."""
        rows = self._history.trees([image.id for image in images])
        return self._plant(rows, images, self._measured)

    def forest(self, search: str = "", *, limit: int) -> Tree[GeneratedImage]:
        """Return the trees of the newest pictures, each counting its versions from 1.

        Args:
            search: Words that must all be in prompt or model.
            limit: Most pictures to start from; their trees may hold more.
        """
        newest = self._history.images(search, limit=limit)
        rows = self._history.trees([row.id for row in newest])
        # What was not measured yet is left so: a list is to come at once.
        return self._plant(rows, (), lambda row: _known(row) if row else None, apart=True)

    def _plant(
        self,
        rows: Sequence[StoredImage],
        images: Sequence[GeneratedImage],
        quality: Callable[[StoredImage | None], Quality | None],
        *,
        apart: bool = False,
    ) -> Tree[GeneratedImage]:
        by_id = {row.id: row for row in rows}
        # Lines that the journal does not know, such as that of a file from elsewhere, count too.
        all_images = {one.id: one for image in images for one in image.line}
        all_images |= {row.id: self._image_store.restore(row) for row in rows}
        alone = len(all_images) == 1
        return plant(
            list(all_images.values()),
            self.thumbnail,
            lambda image: None if alone else quality(by_id.get(image.id)),
            apart=apart,
        )

    def _measured(self, row: StoredImage | None) -> Quality | None:
        if row is None:
            return None
        known = _known(row)
        if known is not None:
            return known
        try:
            found = measure(row.path, megapixels=self._megapixels())
        except InvalidRequestError:
            return None
        self._history.set_metrics(row.id, found.sharpness, found.noise)
        return found

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that makes a picture again, or finds it on disk at no cost.

        It runs on its own: the picture that it starts from is named by its file.
        """
        return cell_text(image, self._take, short_path)

    def cells(self, image: GeneratedImage) -> list[str]:
        """Return the cells of a picture's line, from the first version to it.

        They run in this order: each names the picture before it by the variable that it binds.
        """
        cells: list[str] = []
        bound: set[str] = set()
        for one in image.line:
            cells.append(cell_text(one, self._take, short_path, bound))
            bound.add(one.id)
        return cells

    def _take(self, image: GeneratedImage) -> int:
        same = [row for row in self._history.identical(image.id) if is_intact(row.path, row.digest)]
        return next((number for number, row in enumerate(same) if row.id == image.id), 0)

    @staticmethod
    def save_copy(image: GeneratedImage, target: str) -> Path:
        """Copy a picture's original to a place of the user's; see ``GeneratedImage.save``."""
        if not target:
            raise InvalidRequestError("There is no name to save to.", todo="Give a path.")
        path = _absolute(Path(target))
        try:
            if path.is_dir():
                path /= image.path.name
            if not path.suffix:
                path = path.with_suffix(image.path.suffix)
            if path.exists():
                raise _taken(path)
        except OSError as error:  # a folder that may not be entered, a name that is too long
            raise _not_saved(path, error) from None
        original = image.ensure_local()
        if not image.is_on_disk:
            raise InvalidRequestError(
                f"The picture's file {short_path(original)} is gone.",
                todo="Run the cell that makes it again: image.cell() gives it.",
            )
        # Hidden until it is whole, and then named in one step, so that a file which came to be
        # in the meantime is not written over.
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _KINDS.get(path.suffix.lower()) == _KINDS.get(image.path.suffix.lower()):
                with original.open("rb") as source, part.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
            else:
                _convert(image, part, path.suffix.lower())
            try:
                link_or_rename(part, path)
            except FileExistsError:
                raise _taken(path) from None
        except (OSError, ValueError) as error:
            raise _not_saved(path, error) from None
        finally:
            with suppress(OSError, ValueError):
                part.unlink()
        return path

    def open(self, path: Path) -> GeneratedImage:
        """Return the picture in a file, with its line: as the journal knows it, or as it says.

        Raises:
            InvalidRequestError: There is no such file, or it does not say how it was made.
        """
        path = _absolute(path)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from None
        stored = self._history.by_digest(digest)
        if stored is not None:
            image = self._image_store.restore(stored)
            return image if image.path == path else replace(image, path=path)
        try:
            with open_image_file(path) as picture:
                size = picture.size
        except Exception:  # noqa: BLE001 (damaged files make Pillow raise anything)
            raise InvalidRequestError(
                f"The file {path} is damaged, or no picture.",
                todo="Use a picture that this package saved, or another copy of it.",
            ) from None
        record = extract(path)
        if record is None:
            raise InvalidRequestError(
                f"The file {path} does not say how it was made.",
                todo="It is a picture all the same: %%gpt_edit takes its path.",
            )
        return restore(record, path, digest, size, self._editor)


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:  # no such user
        raise InvalidRequestError(
            f"There is no folder {path.parts[0]} ({error}).", todo="Check the path."
        ) from None


def _taken(path: Path) -> InvalidRequestError:
    return InvalidRequestError(f"There is a file {path} already.", todo="Give another name.")


def _not_saved(path: Path, error: Exception) -> InvalidRequestError:
    why = getattr(error, "strerror", None) or error  # the whole error names the path once more
    return InvalidRequestError(
        f"The picture cannot be saved as {path} ({why}).",
        todo="Give another name ending in .png, .jpg or .webp.",
    )


def _convert(image: GeneratedImage, path: Path, suffix: str) -> None:
    """Save a picture in the format of an ending, with its colour profile and what its file says.

    Raises:
        ValueError: There is no format of this ending, or it does not take such a picture.
        OSError: It cannot be written.
    """
    from PIL import Image as PillowImage

    extensions = PillowImage.registered_extensions()
    if suffix not in extensions:
        raise ValueError(f"unknown file extension: {suffix}")
    picture, kind = upright(image.pil()), _KINDS.get(suffix)
    if kind is not None and picture.mode not in _WITH_PROFILE:
        picture = as_shown(picture, strict=False)
    options = dict(_QUALITY.get(suffix, {}))
    if profile := picture.info.get("icc_profile"):
        options["icc_profile"] = profile
    if kind == "jpg":
        picture = flatten(picture, "white")
    with path.open("xb") as file:
        picture.save(file, extensions[suffix], **options)
    record = extract(image.ensure_local())
    if record is not None and kind is not None:
        embed(path, kind, Note(record, public_title(image.request), SOFTWARE, image.created))


def _known(row: StoredImage) -> Quality | None:
    if row.sharpness is None or row.noise is None:
        return None
    return Quality(row.sharpness, row.noise)
