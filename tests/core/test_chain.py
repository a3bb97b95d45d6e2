"""The steps of ``--then`` are read."""

from __future__ import annotations

import pytest

from runapi_magic.core.chain import StepRequest, parse_step
from runapi_magic.errors import NOT_SENT, InvalidRequestError

UPSCALE = "topaz-upscale-image"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upscale", StepRequest("", {"model": UPSCALE, "upscale_factor": 2})),
        ("upscale 4", StepRequest("", {"model": UPSCALE, "upscale_factor": 4})),
        ("UPSCALE 4X", StepRequest("", {"model": UPSCALE, "upscale_factor": 4})),
        ("Upscale 4x", StepRequest("", {"model": UPSCALE, "upscale_factor": 4})),
        ("remove background", StepRequest("", {"model": "recraft-remove-background"})),
        ("refine: softer light", StepRequest("softer light", {"model": "flux-kontext-pro"})),
        ("refine:softer: light", StepRequest("softer: light", {"model": "flux-kontext-pro"})),
        ("edit: make it night", StepRequest("make it night")),
        ("refine the edges", StepRequest("refine the edges")),
        ("make it night", StepRequest("make it night")),
        ("upscale the fox only", StepRequest("upscale the fox only")),
    ],
)
def test_steps(text, expected):
    """Each form of a step becomes its request. Any other text is an instruction."""
    assert parse_step(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "  ", "upscale much", "upscale " + "9" * 5000, "refine", "Refine :", "edit", "Edit : "],
)
def test_invalid_steps(text):
    """An empty step, an invalid factor and a missing instruction are refused before sending."""
    with pytest.raises(InvalidRequestError) as error:
        parse_step(text)
    assert error.value.charged == NOT_SENT
