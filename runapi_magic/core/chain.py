"""Read the steps of a chain from ``--then``: ``upscale 4``, ``refine: softer light``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from runapi_magic.core.text import shorten
from runapi_magic.errors import InvalidRequestError

REFINE_MODEL = "flux-kontext-pro"
UPSCALE_MODEL = "topaz-upscale-image"
BACKGROUND_MODEL = "recraft-remove-background"
_SHOWN = 40  # characters of a factor, in a message

_STEP = re.compile(
    r"upscale(?:\s+(?P<factor>\S+))?|(?P<background>remove[ -]background)"
    r"|(?P<bare>refine|edit)\s*:?|refine\s*:\s*(?P<refine>.+)|(?:edit\s*:\s*)?(?P<edit>.+)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class StepRequest:
    """The request of one step: an instruction, and the fields of the request."""

    instruction: str
    fields: dict[str, Any] = field(default_factory=dict)


def parse_step(text: str) -> StepRequest:
    """Read one step of a chain.

    - ``upscale [1|2|4]`` enlarges the image with Topaz, by 2 if there is no factor.
    - ``remove background`` uses Recraft.
    - ``refine: INSTRUCTION`` uses Flux Kontext.
    - ``edit: INSTRUCTION`` and ``INSTRUCTION`` use the model that is set for edits.

    Raises:
        InvalidRequestError: The step is empty, or has no instruction or no valid factor.
    """
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise InvalidRequestError(
            "--then is empty.", todo='Write for example --then "upscale 4" or --then "refine: ..."'
        )
    if match["bare"]:
        raise InvalidRequestError(
            f"--then {match['bare']} needs an instruction.",
            todo=f'Write for example --then "{match["bare"].lower()}: softer light".',
        )
    if match["background"]:
        return StepRequest("", {"model": BACKGROUND_MODEL})
    if match["refine"]:
        return StepRequest(match["refine"].strip(), {"model": REFINE_MODEL})
    if match["edit"]:
        return StepRequest(match["edit"].strip())
    given = match["factor"] or "2"
    try:
        factor = int(given.lower().removesuffix("x"))
    except ValueError:  # no number, or one of thousands of digits
        raise InvalidRequestError(
            f'"{shorten(given, _SHOWN)}" is not an upscale factor.', todo="Use 2 or 4."
        ) from None
    return StepRequest("", {"model": UPSCALE_MODEL, "upscale_factor": factor})
