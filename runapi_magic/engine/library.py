"""Find finished images, their trees of edits and their cells; copy an image or open a file."""

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
from runapi_magic.engine.image import GENERATE_AGAIN
from runapi_magic.engine.lineage import build_tree
from runapi_magic.engine.provenance import SOFTWARE, public_title, restore
from runapi_magic.engine.sources import unreadable_file_error
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

_JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}  # 4:4:4, so colours stay sharp
_QUALITY = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": {"quality": 95}, ".avif": {"quality": 95}}
_WITH_PROFILE = frozenset({"P", "RGB", "RGBA"})  # modes that keep their profile in all formats
_KINDS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".gif": "gif"}


class Library:
    """The finished images. The methods block, and may be called from any thread.

    All methods raise JournalError if the journal cannot be read.

    Args:
        history: Finds images in the journal.
        image_store: Loads the images of journal rows.
        thumbnails: Stores small images.
        editor: Edits images.
        megapixels: Returns the largest image to decode, in millions of pixels.
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
        """Return the image with this ID."""
        stored = self._history.image(image_id)
        return None if stored is None else self._image_store.restore(stored)

    def prepare(self, image: GeneratedImage) -> None:
        """Create the preview of an image, so that it can be shown without a delay.

        Raises:
            DownloadError: Its file is missing or damaged.
        """
        image.prepare(self._image_store.limits())

    def page(
        self, search: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[GeneratedImage], int]:
        """Return a page of images, newest first, and the number of images on all pages.

        Args:
            search: Words that must all be in the prompt or the model.
            limit: The largest number of images on a page.
            offset: Number of images to skip.
        """
        found = self._history.images(search, limit=limit, offset=offset)
        return [self._image_store.restore(row) for row in found], self._history.count(search)

    def thumbnail(self, image: GeneratedImage) -> bytes:
        """Return a small JPEG of an image; a grey one if its file is missing."""
        return self._thumbnails.get(image.path, image.digest)

    def small(self, image: GeneratedImage, side: int) -> Image:
        """Return an image with at most this number of pixels on its longest side.

        If the file is missing, this is the thumbnail or a grey image.
        """
        if side > LONGEST_SIDE:
            with suppress(InvalidRequestError):  # missing or changed
                return read_small(image.path, side, megapixels=self._megapixels())
        from PIL import Image as PillowImage

        return PillowImage.open(io.BytesIO(self.thumbnail(image)))

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the trees of edits that images belong to, with measured quality."""
        rows = self._history.trees([image.id for image in images])
        return self._tree(rows, images, self._measure)

    def forest(self, search: str = "", *, limit: int) -> Tree[GeneratedImage]:
        """Return the trees of the newest images; each tree counts its versions from 1.

        Args:
            search: Words that must all be in the prompt or the model.
            limit: The largest number of images to start from; their trees may contain more.
        """
        newest = self._history.images(search, limit=limit)
        rows = self._history.trees([row.id for row in newest])
        # Nothing is measured here, because a list must appear without a delay.
        return self._tree(rows, (), lambda row: _known_quality(row) if row else None, apart=True)

    def _tree(
        self,
        rows: Sequence[StoredImage],
        images: Sequence[GeneratedImage],
        quality: Callable[[StoredImage | None], Quality | None],
        *,
        apart: bool = False,
    ) -> Tree[GeneratedImage]:
        by_id = {row.id: row for row in rows}
        # The journal does not have every lineage: a file may come from another computer.
        all_images = {one.id: one for image in images for one in image.line}
        all_images |= {row.id: self._image_store.restore(row) for row in rows}
        alone = len(all_images) == 1
        return build_tree(
            list(all_images.values()),
            self.thumbnail,
            lambda image: None if alone else quality(by_id.get(image.id)),
            apart=apart,
        )

    def _measure(self, row: StoredImage | None) -> Quality | None:
        """Return the quality of an image; measure and store it if that was not done before."""
        if row is None:
            return None
        known = _known_quality(row)
        if known is not None:
            return known
        try:
            quality = measure(row.path, megapixels=self._megapixels())
        except InvalidRequestError:
            return None
        self._history.set_metrics(row.id, quality.sharpness, quality.noise)
        return quality

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that loads an image from disk at no cost, or generates it again.

        The cell works alone: it refers to its source image by the file.
        """
        return cell_text(image, self._index_of, short_path)

    def cells(self, image: GeneratedImage) -> list[str]:
        """Return the cells of an image's lineage, from the first version to the image.

        Run them in this order: each cell refers to the image before it by its variable.
        """
        cells: list[str] = []
        defined: set[str] = set()
        for one in image.line:
            cells.append(cell_text(one, self._index_of, short_path, defined))
            defined.add(one.id)
        return cells

    def _index_of(self, image: GeneratedImage) -> int:
        """Return the index of an image among the images on disk of identical requests."""
        same = [row for row in self._history.identical(image.id) if is_intact(row.path, row.digest)]
        return next((index for index, row in enumerate(same) if row.id == image.id), 0)

    @staticmethod
    def save_copy(image: GeneratedImage, target: str) -> Path:
        """Copy an image's original file to a path; see ``GeneratedImage.save``."""
        path = _target_path(image, target)
        original = image.ensure_local()
        if not image.is_on_disk:
            raise InvalidRequestError(
                f"The image file {short_path(original)} is missing.",
                todo=GENERATE_AGAIN,
            )
        # A hidden file gets its name only when it is complete. The last step fails if another
        # file with this name exists by then, so nothing is overwritten.
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
                raise _exists_error(path) from None
        except (OSError, ValueError) as error:
            raise _save_error(path, error) from None
        finally:
            with suppress(OSError, ValueError):
                part.unlink()
        return path

    def open(self, path: Path) -> GeneratedImage:
        """Return the image in a file with its lineage, from the journal or the file's record.

        Raises:
            InvalidRequestError: There is no such file, or the file has no record.
        """
        path = _absolute(path)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            raise unreadable_file_error(path, error) from None
        stored = self._history.by_digest(digest)
        if stored is not None:
            image = self._image_store.restore(stored)
            return image if image.path == path else replace(image, path=path)
        try:
            with open_image_file(path) as opened:
                size = opened.size
        except Exception:  # noqa: BLE001 (damaged files make Pillow raise anything)
            raise InvalidRequestError(
                f"The file {path} is damaged or not an image.",
                todo="Use another copy of the image, or another image of this package.",
            ) from None
        record = extract(path)
        if record is None:
            raise InvalidRequestError(
                f"The file {path} has no record of how it was made.",
                todo="You can still edit the image: use its path with %%gpt_edit.",
            )
        return restore(record, path, digest, size, self._editor)


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:  # an unknown user in "~user"
        raise InvalidRequestError(
            f"There is no folder {path.parts[0]} ({error}).", todo="Check the path."
        ) from None


def _target_path(image: GeneratedImage, target: str) -> Path:
    """Return the path of a copy, with the name and suffix of the original if they are missing.

    Raises:
        InvalidRequestError: There is no name, the file exists, or the path is invalid.
    """
    if not target:
        raise InvalidRequestError("The path is empty.", todo='Use a path such as "fox.png".')
    path = _absolute(Path(target))
    try:
        if path.is_dir():
            path /= image.path.name
        if not path.suffix:
            path = path.with_suffix(image.path.suffix)
        if path.exists():
            raise _exists_error(path)
    except OSError as error:  # a folder without permission, a name that is too long
        raise _save_error(path, error) from None
    return path


def _exists_error(path: Path) -> InvalidRequestError:
    return InvalidRequestError(f"The file {path} exists already.", todo="Use another name.")


def _save_error(path: Path, error: Exception) -> InvalidRequestError:
    reason = getattr(error, "strerror", None) or error  # str(error) contains the path again
    return InvalidRequestError(
        f"The image cannot be saved as {path} ({reason}).",
        todo="Use another name with the suffix .png, .jpg or .webp.",
    )


def _convert(image: GeneratedImage, path: Path, suffix: str) -> None:
    """Save an image in the format of a suffix, with its colour profile and its record.

    Raises:
        ValueError: No format has this suffix, or the format does not support the image.
        OSError: The file cannot be written.
    """
    from PIL import Image as PillowImage

    extensions = PillowImage.registered_extensions()
    if suffix not in extensions:
        raise ValueError(f"unknown file extension: {suffix}")
    pixels, kind = upright(image.pil()), _KINDS.get(suffix)
    if kind is not None and pixels.mode not in _WITH_PROFILE:
        pixels = as_shown(pixels, strict=False)
    options = dict(_QUALITY.get(suffix, {}))
    if profile := pixels.info.get("icc_profile"):
        options["icc_profile"] = profile
    if kind == "jpg":
        pixels = flatten(pixels, "white")
    with path.open("xb") as file:
        pixels.save(file, extensions[suffix], **options)
    record = extract(image.ensure_local())
    if record is not None and kind is not None:
        embed(path, kind, Note(record, public_title(image.request), SOFTWARE, image.created))


def _known_quality(row: StoredImage) -> Quality | None:
    """Return the stored quality of an image, None if it was not measured."""
    if row.sharpness is None or row.noise is None:
        return None
    return Quality(row.sharpness, row.noise)
