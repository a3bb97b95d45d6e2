"""docs/limits.md has the same numbers as the code."""

from __future__ import annotations

import pytest

from runapi_magic.batch import sweep
from runapi_magic.core import formats, rate
from runapi_magic.core.catalog import CATALOGUE, COUNTS_IN_ONE_TASK, find_model
from runapi_magic.engine import backend, image_store, provenance, quotes, storage_check
from runapi_magic.engine.settings import Settings
from runapi_magic.http import aiohttp_transport, response_body, retry
from runapi_magic.journal import history, matching
from runapi_magic.media import preview
from runapi_magic.notebook import commands
from runapi_magic.simulator import renderer
from runapi_magic.widgets import panel
from tests.conftest import ROOT

TEXT = " ".join((ROOT / "docs" / "limits.md").read_text("utf-8").split())
TRAITS = Settings.class_own_traits()


def default(name):
    """Return the default of a setting as text."""
    return f"{TRAITS[name].default_value:g}"


def max_sources(name):
    """Return the maximum number of sources of a model."""
    return find_model(name).edit.sources[1]


HOUR, MINUTE = 3600, 60
SENTENCES = [
    f"a request that is {matching.KEY_LIFETIME / HOUR:g} hours old",
    f"address is used for {backend._OUTPUT_LIFETIME / HOUR:g} hours",
    (
        f"is kept for {backend._UPLOAD_LIFETIME / MINUTE:g} minutes where the service does not say"
        f" otherwise, and used again for {backend._UPLOAD_LIFETIME * backend._TRUSTED / MINUTE:g}"
    ),
    f"A quote is kept for {quotes._LIFETIME / MINUTE:g} minutes",
    f"failed is not repeated for {quotes._FAILURE_LIFETIME / MINUTE:g} minute",
    (
        f"GPT Image takes up to {max_sources('gpt-image-2')},"
        f" GPT-4o Image up to {max_sources('gpt-4o-image')}"
    ),
    (
        f"only GPT-4o Image does ({', '.join(map(str, COUNTS_IN_ONE_TASK[:-1]))}"
        f" or {COUNTS_IN_ONE_TASK[-1]})"
    ),
    f"| {default('max_download_mb')} MB | `max_download_mb` |",
    f"| {default('max_megapixels')} million pixels | `max_megapixels` |",
    f"| {default('preview_size')} px and {preview.LARGEST_PREVIEW:,} bytes |",
    f"| {default('timeout')} s, without",
    f"| combinations of a sweep | {sweep._MOST:,} |",
    f"| {default('concurrency')}, at most {TRAITS['concurrency'].max} | `concurrency` |",
    f"| pictures of one request in the panel | {panel._MOST} |",
    f"| connections at a time | {aiohttp_transport._AT_ONCE} |",
    f"| an answer of the service | {response_body._LARGEST_BODY / 1024 / 1024:g} MB |",
    f"| {response_body._GRACE:g} s, and 1 s more for every {response_body._SLOWEST / 1000:g} kB |",
    f"less than {storage_check._MIN_FREE / 1e6:g} MB left counts as full",
    f"| tries for a request without `Retry-After` | {retry._ATTEMPTS} |",
    f"| tries for a download | {image_store._MAX_TRIES},",
    f"| a pause that the service asks for | {rate._LONGEST_PAUSE:g} s |",
    f"| pictures in `%runapi history` | {commands._LONGEST_HISTORY:,} |",
    f"| pictures of one tree | {history._LARGEST_TREE} |",
    f"From `--speed {renderer.ROUGH_FROM:g}` on it draws roughly",
    f"| versions in a file's note | {provenance._LONGEST_LINEAGE} |",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_figures(sentence):
    """The page has a sentence with the number of the code."""
    assert sentence in TEXT


def test_formats():
    """The page names the image formats that the code recognizes."""
    known = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}
    assert f"| {', '.join(list(known)[:3])} or GIF |" in TEXT
    assert set(formats._MAGIC_BYTES) == set(known.values())


def test_models_with_several_sources():
    """Only GPT Image and GPT-4o Image accept several sources; only GPT-4o Image accepts a mask."""
    edits = {model.name: model.edit for model in CATALOGUE if model.edit is not None}
    several = {name for name, edit in edits.items() if edit.sources[1] > 1}
    assert all(name.startswith(("gpt-image-", "gpt-4o-image")) for name in several)
    assert {name for name, edit in edits.items() if edit.mask_field} == {"gpt-4o-image"}


def test_numbers_of_aspect_ratios():
    """GPT Image 2 has 16 aspect ratios with auto, Flux Kontext 6, and the older models 3."""
    counts = {
        name: len(find_model(name).text.parameter("aspect_ratio").choices)
        for name in ("gpt-image-2", "flux-kontext-pro", "gpt-image-1.5", "gpt-4o-image")
    }
    assert counts == {
        "gpt-image-2": 16, "flux-kontext-pro": 6, "gpt-image-1.5": 3, "gpt-4o-image": 3,
    }  # fmt: skip
