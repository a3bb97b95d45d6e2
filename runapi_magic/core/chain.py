"""Steps of a chain, as ``--then`` takes them: ``upscale 4``, ``refine: softer light``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from runapi_magic.errors import InvalidRequestError

REFINE_MODEL = "flux-kontext-pro"
UPSCALE_MODEL = "topaz-upscale-image"
BACKGROUND_MODEL = "recraft-remove-background"

_STEP = re.compile(
    r"upscale(?:\s+(?P<factor>\S+))?|(?P<background>remove[ -]background)"
    r"|(?P<bare>refine|edit)\s*:?|refine\s*:\s*(?P<refine>.+)|(?:edit\s*:\s*)?(?P<edit>.+)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class StepRequest:
    """What a step asks for: an instruction, and the fields of the request."""

    instruction: str
    fields: dict[str, Any] = field(default_factory=dict)


def parse_step(text: str) -> StepRequest:
    """Read one step of a chain.

    ``upscale [1|2|4]`` enlarges with Topaz (twice by default), ``remove background`` uses Recraft,
    ``refine: INSTRUCTION`` uses Flux Kontext, ``edit: INSTRUCTION`` or just an instruction the
    model that edits are made with.

    Raises:
        InvalidRequestError: It is none of these, or its instruction is missing.
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
    factor = match["factor"] or "2"
    if not factor.removesuffix("x").isdecimal():
        raise InvalidRequestError(
            f"upscale {factor} is no factor.", todo='Write --then "upscale 2" or "upscale 4".'
        )
    return StepRequest(
        "", {"model": UPSCALE_MODEL, "upscale_factor": int(factor.removesuffix("x"))}
    )
