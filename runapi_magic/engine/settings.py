"""The settings of the extension: what ``%config RunAPIMagics`` shows and sets."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from traitlets import Bool, CInt, Enum, Float, Int, TraitError, TraitType, Unicode
from traitlets.config import Configurable

from runapi_magic.core.access import Secret
from runapi_magic.core.catalog import DEFAULT_MODEL, RATIOS, RESOLUTIONS


class SecretTrait(TraitType[Secret, "Secret | str"]):
    """A trait that takes text and holds a Secret, so that ``%config`` shows no key."""

    default_value = Secret("")
    info_text = "an API key"

    def validate(self, _obj: Any, value: Any) -> Secret:
        """Wrap text; the message of the error names no value."""
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return Secret(value.strip())
        raise TraitError("api_key takes text")


class ImageDirTrait(Unicode[str, str]):
    """A trait that takes a folder, or the URL of a store that can be used."""

    def validate(self, obj: Any, value: Any) -> str:
        """Refuse a URL for which something is not installed, before anything is paid."""
        from runapi_magic.media.object_store import check_image_dir

        place = super().validate(obj, value)
        check_image_dir(place)
        return place

    def set(self, obj: Any, value: Any) -> None:
        """Keep where the user was, too: a relative folder starts there."""
        super().set(obj, value)
        with contextlib.suppress(OSError):  # the working directory is gone
            obj.named_in = Path.cwd()


class Settings(Configurable):
    """What ``%config RunAPIMagics`` shows and sets.

    Attributes:
        named_in: The working directory in which ``image_dir`` was set; None for its default.
    """

    named_in: Path | None = None

    model = Unicode(DEFAULT_MODEL, help="Model for cells without -m.").tag(config=True)
    edit_model = Unicode(
        "", help="Model for edits without -m; empty: the same as model, where it edits."
    ).tag(config=True)
    aspect_ratio = Enum(
        ("", *RATIOS), "", help="Ratio for cells without -a; empty: the model's own choice."
    ).tag(config=True)
    output_resolution = Enum(
        ("", *RESOLUTIONS), "", help="Resolution for cells without -r; empty: the model's own."
    ).tag(config=True)
    image_dir = ImageDirTrait(
        "gpt-images",
        help="Folder for pictures, relative to the working directory, or an fsspec URL of a store"
        " such as s3://bucket/pictures (extra: stores).",
    ).tag(config=True)
    preview_size = Int(768, min=64, max=4096, help="Longest side inline, in pixels.").tag(
        config=True
    )
    preview_quality = CInt(85, min=30, max=95, help="JPEG quality inline.").tag(config=True)
    timeout = Float(
        900.0, min=1.0, help="Seconds to wait for one task; time in which the kernel is busy"
        " with a long cell does not count.",
    ).tag(config=True)  # fmt: skip
    max_download_mb = Int(128, min=1, help="Largest picture to download, in megabytes.").tag(
        config=True
    )
    max_megapixels = Int(
        89, min=1, help="Largest picture to decode, in millions of pixels; Pillow's own limit."
    ).tag(config=True)
    concurrency = Int(
        8, min=1, max=256, help="Requests of a sweep or batch that are under way at a time."
    ).tag(config=True)
    ask_above_count = Int(
        10, min=1, help="New pictures in one request, beyond which --yes or a click is needed."
    ).tag(config=True)
    ask_above_usd = Float(
        1.0, min=0.0, help="USD of one request, beyond which --yes or a click is needed."
    ).tag(config=True)
    reuse = Bool(
        True, help="Serve a request that was made before from disk, at no cost; --new asks afresh."
    ).tag(config=True)
    provenance = Bool(
        True, help="Write into each picture's file how it was made: prompt, model, fields, line."
    ).tag(config=True)
    toolbar = Bool(True, help="Show buttons under pictures.").tag(config=True)
    api_key = SecretTrait(
        help="API key. Set it in ipython_config.py if anywhere; in a cell it would be saved."
    ).tag(config=True)
    base_url = Unicode("", help="RunAPI's address; empty: RUNAPI_BASE_URL or runapi.ai.").tag(
        config=True
    )

    def image_location(self) -> str:
        """Return ``image_dir`` as it is meant now: a store's URL, or an absolute folder.

        Raises:
            ConfigurationError: It cannot be found; see ``stores.locate``.
        """
        from runapi_magic.media.object_store import resolve_image_dir

        return resolve_image_dir(self.image_dir, self.named_in)
