"""The settings of the extension, which ``%config RunAPIMagics`` shows and sets."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from traitlets import Bool, CInt, Enum, Float, Int, TraitError, TraitType, Unicode
from traitlets.config import Configurable

from runapi_magic.core.access import Secret
from runapi_magic.core.catalog import DEFAULT_MODEL, RATIOS, RESOLUTIONS
from runapi_magic.media.limits import DEFAULT_LIMITS


class SecretTrait(TraitType[Secret, "Secret | str"]):
    """A trait that stores a text as a Secret, so that ``%config`` does not show the key."""

    default_value = Secret("")
    info_text = "an API key"

    def validate(self, _obj: Any, value: Any) -> Secret:
        """Wrap a text in a Secret; the error message does not contain the value."""
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return Secret(value.strip())
        raise TraitError("api_key must be a text")


class ImageDirTrait(Unicode[str, str]):
    """A trait for a folder, or the URL of an object store."""

    def validate(self, obj: Any, value: Any) -> str:
        """Refuse a URL whose packages are not installed, before anything is paid for."""
        from runapi_magic.media.object_store import check_image_dir

        image_dir = super().validate(obj, value)
        check_image_dir(image_dir)
        return image_dir

    def set(self, obj: Any, value: Any) -> None:
        """Set the folder, and remember the working directory: a relative folder starts there."""
        super().set(obj, value)
        with contextlib.suppress(OSError):  # the working directory was deleted
            obj.named_in = Path.cwd()


class Settings(Configurable):
    """The settings of the extension.

    Attributes:
        named_in: The working directory when ``image_dir`` was set; None for the default.
    """

    named_in: Path | None = None

    model = Unicode(DEFAULT_MODEL, help="Model for cells without -m.").tag(config=True)
    edit_model = Unicode(
        "", help="Model for edits without -m; empty: the same as model if it can edit."
    ).tag(config=True)
    aspect_ratio = Enum(
        ("", *RATIOS), "", help="Aspect ratio for cells without -a; empty: the model's default."
    ).tag(config=True)
    output_resolution = Enum(
        ("", *RESOLUTIONS), "", help="Resolution for cells without -r; empty: the model's default."
    ).tag(config=True)
    image_dir = ImageDirTrait(
        "gpt-images",
        help="Folder for images, relative to the working directory, or the fsspec URL of an object"
        " store such as s3://bucket/pictures (needs the extra stores).",
    ).tag(config=True)
    preview_size = Int(
        DEFAULT_LIMITS.preview_size, min=64, max=4096, help="Longest side of a preview in pixels."
    ).tag(config=True)
    preview_quality = CInt(
        DEFAULT_LIMITS.preview_quality, min=30, max=95, help="JPEG quality of a preview."
    ).tag(config=True)
    timeout = Float(
        900.0, min=1.0, help="Seconds to wait for one task; time in which a long cell blocks the"
        " kernel does not count.",
    ).tag(config=True)  # fmt: skip
    max_download_mb = Int(128, min=1, help="Largest image to download, in megabytes.").tag(
        config=True
    )
    max_megapixels = Int(
        DEFAULT_LIMITS.megapixels,
        min=1,
        help="Largest image to decode, in millions of pixels; Pillow's own limit.",
    ).tag(config=True)
    concurrency = Int(
        8, min=1, max=256, help="Number of tasks of a sweep or batch that run at the same time."
    ).tag(config=True)
    ask_above_count = Int(
        10, min=1, help="More new images in one request need confirmation (--yes or a click)."
    ).tag(config=True)
    ask_above_usd = Float(
        1.0, min=0.0, help="A higher cost in USD of one request needs confirmation (--yes or a"
        " click).",
    ).tag(config=True)  # fmt: skip
    reuse = Bool(
        True, help="Load images from disk, at no cost, if the same request was made before; --new"
        " generates new ones.",
    ).tag(config=True)  # fmt: skip
    provenance = Bool(
        True, help="Write into each image file how it was made: prompt, model, fields, lineage."
    ).tag(config=True)
    toolbar = Bool(True, help="Show buttons under images.").tag(config=True)
    api_key = SecretTrait(
        help="API key. Set it in ipython_config.py, not in a cell: the notebook would contain it."
    ).tag(config=True)
    base_url = Unicode(
        "", help="RunAPI's base URL; empty: RUNAPI_BASE_URL or https://runapi.ai."
    ).tag(config=True)

    def image_location(self) -> str:
        """Return ``image_dir`` as an absolute folder, or as the URL of an object store.

        Raises:
            ConfigurationError: It cannot be resolved; see ``object_store.resolve_image_dir``.
        """
        from runapi_magic.media.object_store import resolve_image_dir

        return resolve_image_dir(self.image_dir, self.named_in)
