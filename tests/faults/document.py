"""Write docs/faults.md, the fault matrix for users: ``python -m tests.faults.document``."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.faults.matrix import PAIRS, PRICE, ROWS, WAIT

PAGE = ROOT / "docs" / "faults.md"

_HEAD = """\
# When something goes wrong

This page lists every fault that the simulator can produce at every step of a request, and what the
extension then does. The tests use the same table: they try each row on a simulator and compare the
number of tasks and the charge. They also try {pairs} pairs of faults.

In every row:

- A request that may have reached the service is repeated only with the same bytes and the same
  idempotency key, so it is never charged twice.
- A task stays in the journal if its id is known or the response was lost. `%runapi resume`
  continues it, also after a restart of the kernel.
- Every error says what happened, whether it was charged, and what to do.
- No partial file is left on disk.

"Charged" is what the service finally charged for the task. If the extension cannot know this, the
error says that the request may be charged. If you then run the cell again, it continues the same
task and does not start a second one.

To produce a fault yourself: `python -m runapi_magic.simulator --fault "create=503,times=2"`.

"""

_TITLES = {
    "prepare": "Uploading a source image: getting the upload URL",
    "put": "Uploading a source image: sending the bytes",
    "confirm": "Uploading a source image: confirming",
    "create": "Creating the task",
    "status": "Polling the task",
    "download": "Downloading the image",
}


def page():
    """Return the text of the page."""
    return _HEAD.format(pairs=len(set(PAIRS))) + "\n".join(
        "\n".join(_section(point, title)) for point, title in _TITLES.items()
    )


def _section(point, title):
    yield f"## {title}\n"
    yield "| The service ... | What happens | Result | Charged | What to do |"
    yield "|---|---|---|---|---|"
    alike = {}
    for row in ROWS:
        if row.point == point:
            cells = row.result, _end(row), _charge(row), _advice(row)
            alike.setdefault(cells, {})[row.fault] = None  # a set that keeps its order
    for cells, faults in alike.items():
        yield f"| {' | '.join((_joined(list(faults)), *cells))} |"
    yield ""


def _joined(faults):
    """Join several faults: "returns 500 twice" and "returns 503 twice" share one phrase."""
    numbers = {}
    for fault in faults:
        verb, _, rest = fault.partition(" ")
        number, _, how = rest.partition(" ")
        if number.isdigit():
            numbers.setdefault((verb, how), []).append(number)
        else:
            numbers[fault, ""] = []
    return "; ".join(
        " ".join(part for part in (verb, ", ".join(sorted(found)), how) if part)
        for (verb, how), found in numbers.items()
    )


def _end(row):
    return "the image" if row.error is None else f"`{row.error.__name__}`"


def _charge(row):
    if not row.cents:
        return "no" if row.charged == "no" else "no, but the error says it may be"
    once = "yes, once" if row.cents == PRICE else "yes"
    return once if row.charged == "yes" else "yes, after it completes"


def _advice(row):
    """Return a short instruction for the user."""
    if row.error is None:
        return ""
    if row.resumes:
        return "`%runapi resume`, or run the cell again"
    return _ADVICE["RateLimitError" if row.todo == WAIT else row.error.__name__]


_ADVICE = {
    "APIError": "Check the base URL: `%runapi status`",
    "AuthenticationError": "Check the key: `%runapi status`, `%runapi login`",
    "ConflictError": "Run the cell again with `--new`",
    "ConnectionFailedError": "Check the network, then run the cell again",
    "InsufficientCreditsError": "Add credit, then run the cell again",
    "NotFoundError": "Check the model name and the base URL",
    "PayloadTooLargeError": "Make the source image smaller",
    "PermissionDeniedError": "Use a key that has access to this model",
    "RateLimitError": "Wait a moment, then run the cell again",
    "ServerError": "Try again later",
    "TaskFailedError": "Change the prompt or the source, then run the cell again",
    "UnsupportedMediaTypeError": "Use a PNG, JPEG or WEBP image as the source",
    "ValidationError": "Change the named field, then run the cell again",
}


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
