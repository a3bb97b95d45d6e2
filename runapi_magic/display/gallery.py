"""The gallery: the newest images on one sheet, as a plain image and as a list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runapi_magic.media.contact_sheet import (
    DENSITY,
    MOST_CELLS,
    SheetCell,
    draw_sheet,
    encode_sheet,
)
from runapi_magic.media.files import short_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.library import Library

LARGEST = MOST_CELLS  # images on one sheet


@dataclass(frozen=True, slots=True)
class Album:
    """Earlier images, numbered, newest first.

    Attributes:
        images: The images, 1 to 100.
        library: Reads small versions of them.
        longest_side: The longest side of the displayed sheet in pixels.
        count: Number of all images; these are the newest of them.
    """

    images: Sequence[GeneratedImage]
    library: Library
    longest_side: int
    count: int

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        width = len(str(len(self.images)))
        lines = [
            f"{number:{width}}  {datetime.fromtimestamp(image.created).astimezone():%Y-%m-%d %H:%M}"
            f"  {_title(image)} · {short_path(image.location)}"
            for number, image in enumerate(self.images, 1)
        ]
        older = self.count - len(self.images)
        return "\n".join([*lines, *([f"and {older} older"] if older else [])])

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        cells = [self._cell(number, image) for number, image in enumerate(self.images, 1)]
        drawn = draw_sheet(cells, None, None, longest_side=self.longest_side).image
        size = {
            "width": drawn.width // DENSITY,
            "height": drawn.height // DENSITY,
            "alt": f"Gallery of {len(self.images)} images; the list below names them",
        }
        data = {"image/jpeg": encode_sheet(drawn), "text/plain": str(self)}
        return data, {"image/jpeg": size}

    def _cell(self, number: int, image: GeneratedImage) -> SheetCell:
        def read(side: int) -> Image:
            return self.library.small(image, side)

        return SheetCell("completed", f"{number} {_title(image)}", read)


def _title(image: GeneratedImage) -> str:
    return " ".join(image.request.title.split())[:60]
