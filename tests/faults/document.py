"""The fault matrix for users: ``python -m tests.faults.document`` writes docs/faults.md."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.faults.matrix import PAIRS, PRICE, ROWS

PAGE = ROOT / "docs" / "faults.md"

_HEAD = """\
# When something goes wrong

What the extension does about every fault that the simulator can play, at every moment of a request.
The tests read the same table: each row is tried against a server, which then says how many tasks it
was asked for and what it charged. So are {pairs} pairs of faults.

What holds in every row:

- A request that may have reached the service is repeated only with the same bytes and the same
  idempotency key, so it is never paid for twice.
- A task whose id is known, or whose answer was lost, stays in the journal. `%runapi resume` goes on
  with it, also after a restart of the kernel.
- Every error says what happened, whether it was charged, and what to do.
- No half file is left.

"Charged" is what the service charged for the task, in the end; where the error cannot know, it says
that it may have been. "Running the cell again" then asks for the same task, not for a second one.

To play a fault yourself: `python -m runapi_magic.simulator --fault "create=503,times=2"`.

"""

_TITLES = {
    "prepare": "Uploading a source picture: asking where to",
    "put": "Uploading a source picture: the bytes",
    "confirm": "Uploading a source picture: the end",
    "create": "Asking for a picture",
    "status": "Looking whether it is done",
    "download": "Fetching the picture",
}


def page():
    """Return the page."""
    return _HEAD.format(pairs=len(set(PAIRS))) + "\n".join(
        "\n".join(_section(moment, title)) for moment, title in _TITLES.items()
    )


def _section(moment, title):
    yield f"## {title}\n"
    yield "| The service ... | What happens | Ends in | Charged | What to do |"
    yield "|---|---|---|---|---|"
    alike = {}
    for row in ROWS:
        if row.moment == moment:
            cells = row.means, _end(row), _charge(row), _advice(row)
            alike.setdefault(cells, {})[row.fault] = None  # a set that keeps its order
    for cells, faults in alike.items():
        yield f"| {' | '.join((_joined(list(faults)), *cells))} |"
    yield ""


def _joined(faults):
    """Say what several faults have in common once: answers 500, 502, 503 twice."""
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
    return "the picture" if row.ends is None else f"`{row.ends.__name__}`"


def _charge(row):
    if not row.cents:
        return "no" if row.charged == "no" else "no, but nobody could know"
    once = "yes, once" if row.cents == PRICE else "yes"
    return once if row.charged == "yes" else "yes, once it is done"


def _advice(row):
    """Return what to do, in a few words."""
    if row.ends is None:
        return ""
    if row.resumes:
        return "`%runapi resume`, or run the cell again"
    return _ADVICE[row.ends.__name__]


_ADVICE = {
    "APIError": "Check the base URL: `%runapi status`",
    "AuthenticationError": "Check the key: `%runapi status`, `%runapi login`",
    "ConflictError": "Run the cell again with `--new`",
    "ConnectionFailedError": "Check the network, run the cell again",
    "InsufficientCreditsError": "Add credit, run the cell again",
    "NotFoundError": "Check the model's name and the base URL",
    "PayloadTooLargeError": "Make the source picture smaller",
    "PermissionDeniedError": "Use a key that may use this model",
    "RateLimitError": "Wait a little, run the cell again",
    "ServerError": "Try again in a while",
    "TaskFailedError": "Change the prompt or the source, run the cell again",
    "UnsupportedMediaTypeError": "Use a PNG, JPEG or WEBP picture as the source",
    "ValidationError": "Change what it names, run the cell again",
}


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
