"""Convert images to sRGB, the colour space of programs that ignore colour profiles."""

from __future__ import annotations

import io
from itertools import product
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PIL.Image import Image

_SAME = 2  # levels of 255; a profile that changes colours by no more counts as sRGB
_COLOURS = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L"}  # the same mode without transparency


def to_srgb(image: Image) -> Image:
    """Return an image with 8 bits per channel in sRGB.

    The same object is returned if it has no profile, or if its colours are sRGB already. A profile
    that is damaged or does not fit the image is removed.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        changed = _apply(image, profile)
    except ImportError:  # this Pillow was built without littlecms
        return image
    except Exception:  # noqa: BLE001 (damaged profiles raise many exceptions)
        changed = image.copy()
    if changed is not image:
        changed.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
        if changed.mode == "RGBA":  # the transparent colour is an alpha channel now
            changed.info.pop("transparency", None)
    return changed


def _apply(image: Image, profile: bytes) -> Image:
    from PIL import Image as PillowImage
    from PIL import ImageCms

    mode = _COLOURS.get(image.mode, image.mode)
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
    )
    if mode != "CMYK" and _keeps_colours(transform, mode):
        return image
    transparent = "transparency" in image.info or image.mode in {"LA", "PA", "RGBA"}
    whole = image.convert(f"{mode}A") if transparent else image.convert(mode)
    made = ImageCms.applyTransform(whole.convert(mode), transform)
    assert made is not None, "applyTransform returns None only if inPlace is set"
    if mode == "L":  # grey has three equal channels
        made = made.getchannel("R")
    if transparent:
        bands = made.split() if mode == "RGB" else (made,)
        made = PillowImage.merge(f"{mode}A", (*bands, whole.getchannel("A")))
    return made


def _keeps_colours(transform: Any, mode: str) -> bool:
    """Whether a transform to sRGB does not change a sample of colours."""
    from PIL import Image, ImageChops, ImageCms

    levels = range(0, 256, 51)
    sample = [level for colour in product(levels, repeat=len(mode)) for level in colour]
    before = Image.frombytes(mode, (len(sample) // len(mode), 1), bytes(sample))
    after = ImageCms.applyTransform(before, transform)
    assert after is not None, "applyTransform returns None only if inPlace is set"
    difference = ImageChops.difference(before.convert("RGB"), after).convert("RGB")
    channels = cast("tuple[tuple[int, int], ...]", difference.getextrema())
    return all(high <= _SAME for _, high in channels)
