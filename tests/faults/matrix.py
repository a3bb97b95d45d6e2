"""The fault matrix: every fault of the simulator at every moment, and what is to come of it.

A row is one fault at one moment of one request for one picture. From these rows come the tests, the
pairs of faults, and the table in ``docs/faults.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from runapi_magic.errors import (
    APIError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    DownloadError,
    InsufficientCreditsError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    RunAPIError,
    ServerError,
    TaskFailedError,
    TaskTimeoutError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from runapi_magic.simulator.faults import BODY_SHAPES

MOMENTS = ("prepare", "put", "confirm", "create", "status", "download")
PRICE = 6  # cents of one gpt-image-2 picture at 1k
SHORT = 1.0  # seconds of a deadline that is meant to pass

RESUME = "%runapi resume"
AGAIN = "under the same idempotency key"
LATER = "Try again in a while"


@dataclass(frozen=True)
class Row:
    """One fault, and what is to come of it.

    Attributes:
        moment: Where it strikes.
        fault: The fault in plain words.
        specs: The fault in the simulator's grammar.
        ends: The error that the request ends in; None: in the picture.
        means: What happens, in plain words.
        tasks: How many tasks the server has then.
        cents: What the server has charged once it is done with them.
        charged: What the error says about that: no, maybe or yes.
        says: Parts of what the error says has happened.
        todo: A part of what it says to do.
        journal: The state of the task in the journal then.
        resumes: Whether resuming, once the fault is over, brings the picture.
        fields: The request's fields.
        timeout: Seconds for the task.
        patience: Seconds that one answer may take.
        keys: How many idempotency keys go out with the creates of the first attempt.
    """

    moment: str
    fault: str
    specs: tuple[str, ...]
    ends: type[RunAPIError] | None = None
    means: str = "The picture comes."
    tasks: int = 1
    cents: int = PRICE
    charged: str = "yes"
    says: tuple[str, ...] = ()
    todo: str = ""
    journal: str = "saved"
    resumes: bool = False
    fields: dict = field(default_factory=dict)
    timeout: float = 20.0
    patience: float | None = None
    keys: int = 1

    @property
    def name(self):
        """The row's name in test reports, and what makes its prompt one of its own."""
        return " + ".join(self.specs)

    @property
    def is_edit(self):
        """Whether the request has a source picture to upload."""
        return self.moment in {"prepare", "put", "confirm"}


def _comes(moment, fault, *specs, means="Asked again; the picture comes.", **more):
    return Row(moment, fault, specs, means=means, **more)


# Creating


def _refused(fault, spec, ends, means, says, todo, **more):  # noqa: PLR0917 (a table's row)
    """The service said no: nothing was made, nothing is left to resume."""
    return Row(
        "create", fault, (spec,), ends, means, tasks=0, cents=0, charged="no", says=(says,),
        todo=todo, journal="refused", **more,
    )  # fmt: skip


def _doubtful(fault, spec, ends, says, *, tasks=0, todo=AGAIN, journal="sent"):
    """No good answer: a task may exist, and its key finds it."""
    means = "A task may exist all the same; the request and its key stay in the journal."
    return Row(
        "create", fault, (spec,), ends, means, tasks=tasks, cents=PRICE * tasks, charged="maybe",
        says=(says,), todo=todo, journal=journal, resumes=True,
    )  # fmt: skip


_NO = "The service says no. Nothing was made."
_REFUSALS = (
    (400, ValidationError, "did not accept the request", "Change what it names"),
    (401, AuthenticationError, "did not accept the API key", "%runapi login"),
    (402, InsufficientCreditsError, "not enough credit", "Add credit at runapi.ai"),
    (403, PermissionDeniedError, "key may not do that", "Use a key that may use this model"),
    (404, NotFoundError, "does not know what was asked for", "%runapi models"),
    (409, ConflictError, "reports a conflict", "--new"),
    (413, PayloadTooLargeError, "too large for RunAPI", "Make the source picture smaller"),
    (415, UnsupportedMediaTypeError, "does not take this type of file", "PNG, JPEG or WEBP"),
    (422, ValidationError, "did not accept the request", "Change what it names"),
)
_REASON = "no tulips today"


def _create_rows():
    for status, ends, says, todo in _REFUSALS:
        keys = 2 if status == 404 else 1  # "no such route" is asked of the other family too
        fault = f"answers {status}"
        yield _refused(fault, f"create={status}", ends, _NO, f"{says} ({status})", todo, keys=keys)
    yield _refused(
        "answers 422 as the model is strict about resolutions", "create=strict_resolution",
        ValidationError, _NO, "output_resolution", "Change what it names",
        fields={"aspect_ratio": "1:1", "output_resolution": "4k"},
    )  # fmt: skip
    for shape in BODY_SHAPES:
        says = "(422)" if shape == "empty" else _REASON
        yield _refused(
            "answers 422, whatever the shape of its body",
            f"create=422,body={shape},message={_REASON}",
            ValidationError, _NO, says, "Change what it names",
        )  # fmt: skip
    for status in (404, 405):
        yield _comes(
            "create", f"answers {status} on one route family", f"create={status},times=1",
            means="The other published route family is asked; the picture comes.", keys=2,
        )  # fmt: skip
    yield _comes(
        "create", "answers 409 as the source is not ready yet, twice",
        "create=409,code=source_task_not_ready,times=2",
    )  # fmt: skip
    for option in ("", ",retry_after=0.3", ",retry_after=date"):
        told = {"": "", ",retry_after=date": " with a date to wait for"}.get(
            option, " with seconds to wait"
        )
        means = "Waited as told, asked again; the picture comes."
        spec = f"create=429,times=2{option}" if not told else f"create=429,times=1{option}"
        yield _comes("create", f"answers 429{told}", spec, means=means)
    for option, fault in (
        (",retry_after=60", " with longer to wait than the deadline"),
        ("", " always"),
    ):
        yield _refused(
            f"answers 429{fault}", f"create=429{option}", RateLimitError,
            "Waited, in vain. Nothing was made.", "Too many requests", "Wait a little",
        )  # fmt: skip
    for status in (408, 500, 502, 503, 504):
        yield _comes("create", f"answers {status} twice", f"create={status},times=2")
        yield _doubtful(
            f"answers {status} always", f"create={status}", ServerError, "has a problem"
        )
    for status in (501, 505):
        yield _doubtful(f"answers {status}", f"create={status}", ServerError, "has a problem")
    yield _comes(
        "create", "answers 500 although it made the task", "create=500,task_id_header=1,times=1"
    )
    for status, ends, says in (
        (500, ServerError, "has a problem (500)"),
        (422, ValidationError, "(422)"),
    ):
        yield _doubtful(
            f"answers {status} always although it made the task",
            f"create={status},task_id_header=1", ends, says, tasks=1, todo=RESUME,
            journal="running",
        )  # fmt: skip
    yield from _create_connections()


def _create_connections():
    lost = {
        "drop": "loses the connection",
        "drop_before": "loses the connection before the task is made",
        "drop_after": "loses the connection after the task was made",
        "bad_json": "answers with half an answer",
        "empty": "answers with nothing",
    }
    for effect, fault in lost.items():
        tasks = 1 if effect == "drop_after" else 0
        says = "no JSON" if effect == "bad_json" else "without a task id"
        says = "connection" if effect.startswith("drop") else says
        yield _comes("create", f"{fault}, once", f"create={effect},times=1")
        yield _doubtful(
            f"{fault}, always", f"create={effect}", ConnectionFailedError, says, tasks=tasks
        )
    yield _comes("create", "is slow", "create=slow,seconds=0.3", means="The picture comes later.")
    yield _comes(
        "create", "is slower than anyone waits", "create=slow,seconds=1,times=1", patience=0.3
    )
    yield _refused(
        "redirects to another address", "create=redirect_foreign", APIError,
        "Not followed: the key goes to the service only.", "(307)", "Check the base URL",
    )  # fmt: skip
    plain = "The picture comes."
    yield _comes("create", "answers 202 with an address to poll", "create=202", means=plain)
    yield _comes("create", "answers with just an id", "create=id_only", means=plain)
    yield _comes(
        "create", "names an address of another origin to poll", "create=location_foreign",
        means="That address is not asked; the picture comes.",
    )  # fmt: skip


# Looking


def _stays(fault, spec, ends, says, todo, *, means, cents=PRICE, journal="running", **more):
    """The task goes on at the service, and its id is in the journal."""
    return Row(
        "status", fault, (spec,), ends, means, cents=cents, charged="maybe", says=(says,),
        todo=todo, journal=journal, resumes=True, **more,
    )  # fmt: skip


_LOOKED = "Looked again; the picture comes."
_BLIND = "Looked until the deadline, in vain; the task goes on at the service."
_NOT_DONE = "was not done after 1 s of waiting"


def _status_rows():
    yield _stays(
        "answers 401", "status=401", AuthenticationError, "did not accept the API key", RESUME,
        means="The key was revoked meanwhile; the task goes on at the service.",
    )  # fmt: skip
    yield _stays(
        "answers 403", "status=403", PermissionDeniedError, "key may not do that", RESUME,
        means="The key may not look any more; the task goes on at the service.",
    )  # fmt: skip
    yield _comes("status", "answers 404 once", "status=404,times=1", means=_LOOKED)
    for status in (404, 405, 410):
        yield _stays(
            f"answers {status} always", f"status={status}", NotFoundError, "does not know", RESUME,
            means="Asked every known address three times; the id stays in the journal.",
        )  # fmt: skip
    for status in (400, 402, 409, 413, 415, 422, 501, 505):
        yield _comes("status", f"answers {status} once", f"status={status},times=1", means=_LOOKED)
    yield _comes("status", "answers 429 twice", "status=429,times=2", means=_LOOKED)
    yield _comes(
        "status", "answers 429 with seconds to wait", "status=429,retry_after=0.3,times=1",
        means="Waited as told, looked again; the picture comes.",
    )  # fmt: skip
    for status in (408, 500, 502, 503, 504):
        yield _comes("status", f"answers {status} twice", f"status={status},times=2", means=_LOOKED)
    for status in (422, 429, 500, 503):
        yield _stays(
            f"answers {status} always", f"status={status}", TaskTimeoutError,
            "The last look failed", RESUME, means=_BLIND, timeout=SHORT,
        )  # fmt: skip
    odd = {
        "drop": "loses the connection",
        "bad_json": "answers with half an answer",
        "redirect_foreign": "redirects to another address",
        "location_foreign": "redirects to another origin",
        "empty": "answers with nothing",
    }
    for effect, fault in odd.items():
        spec = f"status={effect},times=2"
        yield _comes("status", f"{fault}, twice", spec, means=_LOOKED)
        yield _stays(
            f"{fault}, always", f"status={effect}", TaskTimeoutError, "The last look failed",
            RESUME, means=_BLIND, timeout=SHORT,
        )  # fmt: skip
    yield _comes("status", "is slow", "status=slow,seconds=0.3", means="The picture comes later.")
    yield _comes(
        "status", "uses other words for the same", "status=synonyms", means="The picture comes."
    )
    yield _comes(
        "status", "says a word that nobody knows, twice", "status=unknown,times=2",
        means="Looked on, with a note; the picture comes.",
    )  # fmt: skip
    for effect, fault in (
        ("unknown", "says a word that nobody knows, always"),
        ("stuck", "never comes to an end"),
    ):
        yield _stays(
            fault, f"status={effect}", TaskTimeoutError, _NOT_DONE, RESUME,
            means="Looked until the deadline; the task goes on at the service.", timeout=SHORT,
        )  # fmt: skip
    yield _stays(
        "says completed, without a picture", "status=no_images", TaskFailedError,
        "completed without a picture", RESUME, journal="completed",
        means="The id stays in the journal; a later look may find the picture.",
    )  # fmt: skip
    yield Row(
        "status", "says that the task failed", ("status=failed,message=too many tulips",),
        TaskFailedError, "The task has ended for good, with the service's reason.", cents=0,
        charged="no", says=("could not make the picture: too many tulips",),
        todo="Change the prompt or the source", journal="failed",
    )  # fmt: skip


# Fetching


def _unfetched(fault, spec, says, *, means, todo=RESUME, **more):
    """The picture is made and paid for, and still at the service."""
    return Row(
        "download", fault, (spec,), DownloadError, means, says=(says,), todo=todo,
        journal="completed", resumes=True, **more,
    )  # fmt: skip


_FETCHED = "Fetched again; the picture comes."
_VAIN = "Tried three times; the picture stays at the service, its id in the journal."
_ASKED_ADDRESS = "A new address is asked for; the picture comes."


def _download_rows():
    for status in (403, 404, 410):
        yield _comes(
            "download", f"answers {status} once", f"download={status},times=1", means=_ASKED_ADDRESS
        )
    for status in (400, 401, 429, 500, 503):
        yield _comes(
            "download", f"answers {status} once", f"download={status},times=1", means=_FETCHED
        )
    for status in (401, 403, 404, 410, 429, 500, 503):
        fresh = "A new address was asked for, in vain" if status in {403, 404, 410} else ""
        yield _unfetched(
            f"answers {status} always", f"download={status}", f"answered with {status}",
            means=f"{fresh}; the picture's id stays in the journal." if fresh else _VAIN,
        )  # fmt: skip
    bad = {
        "drop": ("breaks off in the middle", "broke off"),
        "truncated": ("ends early", "broke off"),
        "huge": ("announces 10 GB", "broke off"),
        "bad_json": ("sends something else", "no PNG, JPEG, WEBP or GIF"),
        "html": ("sends a web page", "no PNG, JPEG, WEBP or GIF"),
        "empty": ("sends nothing", "answered with nothing"),
        "corrupt": ("sends a damaged picture", "damaged"),
        "redirect_foreign": ("leads on to another address", "leads on more than 3 times"),
    }
    for effect, (fault, says) in bad.items():
        means = _FETCHED
        if effect == "redirect_foreign":
            means = "Followed, without the key; the picture comes."
        yield _comes("download", f"{fault}, once", f"download={effect},times=1", means=means)
        yield _unfetched(f"{fault}, always", f"download={effect}", says, means=_VAIN)
    yield _comes(
        "download", "is slow", "download=slow,seconds=0.3", means="The picture comes later."
    )
    yield _comes(
        "download", "stalls once for longer than anyone waits", "download=slow,seconds=1,times=1",
        means=_FETCHED, patience=0.3,
    )  # fmt: skip
    yield _comes(
        "download", "sends a tiny file of 400 megapixels", "download=bomb",
        means="It is saved and not decoded; a grey preview says why.",
    )  # fmt: skip


# Uploading


def _not_uploaded(moment, fault, spec, ends, says, todo, **more):  # noqa: PLR0917 (a table's row)
    """The source did not get there: no task was asked for, and uploads cost nothing."""
    return Row(
        moment, fault, (spec,), ends, "The source was not taken. Nothing was asked for.", tasks=0,
        cents=0, charged="no", says=(says,), todo=todo, journal="refused", **({"keys": 0} | more),
    )  # fmt: skip


_UPLOAD_REFUSALS = tuple(one for one in _REFUSALS if one[0] in {401, 403, 404, 413, 415, 422})
_UPLOADED = "Asked again; the picture comes."


def _upload_rows():
    for moment, (status, ends, says, todo) in product(("prepare", "confirm"), _UPLOAD_REFUSALS):
        fault, spec = f"answers {status}", f"{moment}={status}"
        yield _not_uploaded(moment, fault, spec, ends, f"{says} ({status})", todo)
    for moment in ("prepare", "confirm"):
        yield _comes(moment, "answers 429 twice", f"{moment}=429,times=2", means=_UPLOADED)
        yield _comes(moment, "answers 503 twice", f"{moment}=503,times=2", means=_UPLOADED)
        yield _comes(
            moment, "loses the connection, once", f"{moment}=drop,times=1", means=_UPLOADED
        )
        yield _comes(
            moment, "is slow", f"{moment}=slow,seconds=0.3", means="The picture comes later."
        )
        yield _not_uploaded(
            moment, "answers 429 always", f"{moment}=429", RateLimitError, "Too many requests",
            "Wait a little",
        )  # fmt: skip
        for status in (500, 503):
            yield _not_uploaded(
                moment, f"answers {status} always", f"{moment}={status}", ServerError,
                "has a problem", LATER,
            )  # fmt: skip
        for effect, fault, says in (
            ("drop", "loses the connection, always", "connection"),
            ("bad_json", "answers with half an answer", "no JSON"),
            ("empty", "answers with nothing", "no JSON"),
        ):
            yield _not_uploaded(
                moment,
                fault,
                f"{moment}={effect}",
                ConnectionFailedError,
                says,
                "Check the network",
            )
        yield _not_uploaded(
            moment, "redirects to another address", f"{moment}=redirect_foreign", APIError, "(307)",
            "Check the base URL",
        )  # fmt: skip
    yield from _put_rows()


def _put_rows():
    for status, ends, says, todo in (
        (400, ValidationError, "(400)", ""),
        (403, PermissionDeniedError, "(403)", ""),
        (413, PayloadTooLargeError, "too large for RunAPI", "Make the source picture smaller"),
        (429, RateLimitError, "Too many requests", "Wait a little"),
        (500, ServerError, "has a problem", LATER),
        (503, ServerError, "has a problem", LATER),
    ):
        yield _not_uploaded("put", f"answers {status}", f"put={status}", ends, says, todo)
    yield _not_uploaded(
        "put", "loses the connection", "put=drop", ConnectionFailedError, "could not be uploaded",
        "Check the network",
    )  # fmt: skip
    yield _not_uploaded(
        "put", "redirects to another address", "put=redirect_foreign", APIError, "(307)", ""
    )
    for effect in ("bad_json", "empty"):
        yield _not_uploaded(
            "put", "says yes and keeps nothing", f"put={effect}", ValidationError,
            "has not been uploaded", "",
        )  # fmt: skip
    yield _comes("put", "is slow", "put=slow,seconds=0.3", means="The picture comes later.")


ROWS = (*_upload_rows(), *_create_rows(), *_status_rows(), *_download_rows())


# Two faults at once

_ONCE = {
    "create": (
        "401", "404", "409", "422", "429", "500", "500,task_id_header=1", "slow,seconds=0.1",
        "drop_before", "drop_after", "bad_json", "empty", "redirect_foreign", "202", "id_only",
        "location_foreign",
    ),
    "status": (
        "401", "404", "422", "429", "503", "failed", "unknown", "no_images", "stuck", "synonyms",
        "drop", "bad_json", "empty", "redirect_foreign", "slow,seconds=0.1",
    ),
    "download": (
        "403", "410", "429", "503", "truncated", "corrupt", "html", "huge", "drop", "bad_json",
        "redirect_foreign", "slow,seconds=0.1",
    ),
    "prepare": ("401", "503", "drop"),
    "put": ("403", "500", "drop"),
    "confirm": ("422", "503", "drop"),
}  # fmt: skip


def _once(moment):
    return [f"{moment}={effect},times=1" for effect in _ONCE[moment]]


def _of_two(one, other):
    return list(product(_once(one), _once(other)))


PAIRS = [
    *_of_two("create", "status"),
    *_of_two("create", "download"),
    *_of_two("status", "download"),
    *(pair for moment in ("prepare", "put", "confirm") for pair in _of_two(moment, "create")),
    # The worst that can happen first, and anything after it.
    *(("create=drop_after,times=1", f"{spec},skip=1") for spec in _once("create")),
    # Lost for good, then anything while the next kernel finishes it.
    *(("create=drop_after", spec) for spec in (*_once("status"), *_once("download"))),
]  # fmt: skip
