"""The largest image to decode, and the size of previews. Imports nothing: settings need it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limit for decoding an image, and the size of its preview.

    Attributes:
        megapixels: The largest image to decode, in millions of pixels.
        preview_size: The longest side of the preview in pixels; 0 for no preview.
        preview_quality: The JPEG quality of the preview.
    """

    megapixels: int
    preview_size: int
    preview_quality: int


DEFAULT_LIMITS = Limits(megapixels=89, preview_size=768, preview_quality=85)
