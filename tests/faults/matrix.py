"""The fault matrix: every fault of the simulator at every point, and its expected result.

A row is one fault at one point of a request for one image. The tests, the pairs of faults and the
table in ``docs/faults.md`` are made from these rows.
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

POINTS = ("prepare", "put", "confirm", "create", "status", "download")
PRICE = 6  # cents of one gpt-image-2 image at 1k
SHORT_TIMEOUT = 1.0  # seconds of a timeout that is meant to expire

RESUME = "%runapi resume"
AGAIN = "with the same idempotency key"
LATER = "Try again later"
WAIT = "Wait a moment"


@dataclass(frozen=True)
class Row:
    """One fault and its expected result.

    Attributes:
        point: The point of the request at which the fault occurs.
        fault: The fault in plain words.
        specs: The fault in the simulator's syntax.
        error: The error that ends the request; None: the image is saved.
        result: What happens, in plain words.
        tasks: Number of tasks on the server afterwards.
        cents: Charge of these tasks after they have ended.
        charged: What the error says about the charge: no, maybe or yes.
        messages: Parts of the error message.
        todo: A part of the error's advice.
        journal: State of the task in the journal afterwards.
        resumes: Whether resuming without the fault saves the image.
        fields: Fields of the request.
        timeout: Timeout of the task in seconds.
        response_timeout: Timeout of one response in seconds.
        keys: Number of idempotency keys in the create requests of the first attempt.
    """

    point: str
    fault: str
    specs: tuple[str, ...]
    error: type[RunAPIError] | None = None
    result: str = "The image is saved."
    tasks: int = 1
    cents: int = PRICE
    charged: str = "yes"
    messages: tuple[str, ...] = ()
    todo: str = ""
    journal: str = "saved"
    resumes: bool = False
    fields: dict = field(default_factory=dict)
    timeout: float = 20.0
    response_timeout: float | None = None
    keys: int = 1

    @property
    def name(self):
        """Name of the row in test reports; it also makes the prompt unique."""
        return " + ".join(self.specs)

    @property
    def is_edit(self):
        """Whether the request uploads a source image."""
        return self.point in {"prepare", "put", "confirm"}


def _recovers(point, fault, *specs, result="The request is repeated; the image is saved.", **more):
    return Row(point, fault, specs, result=result, **more)


# Create requests


def _rejected(fault, spec, error, result, says, todo, **more):  # noqa: PLR0917 (a table's row)
    """Return a row in which the service rejects the request. No task exists."""
    return Row(
        "create", fault, (spec,), error, result, tasks=0, cents=0, charged="no", messages=(says,),
        todo=todo, journal="refused", **more,
    )  # fmt: skip


def _uncertain(fault, spec, error, says, *, tasks=0, todo=AGAIN, journal="sent"):
    """Return a row in which a task may exist. Its idempotency key finds it."""
    result = "A task may exist; the request and its key stay in the journal."
    return Row(
        "create", fault, (spec,), error, result, tasks=tasks, cents=PRICE * tasks, charged="maybe",
        messages=(says,), todo=todo, journal=journal, resumes=True,
    )  # fmt: skip


_REJECTED = "The service rejects the request. No task is created."
_REJECTIONS = (
    (400, ValidationError, "did not accept the request", "Change the request"),
    (401, AuthenticationError, "did not accept the API key", "%runapi login"),
    (402, InsufficientCreditsError, "not have enough credit", "Add credit at runapi.ai"),
    (
        403,
        PermissionDeniedError,
        "key does not have permission",
        "Use a key with access to this model",
    ),
    (404, NotFoundError, "did not find the model, the path or the task", "%runapi models"),
    (409, ConflictError, "reports a conflict", "--new"),
    (413, PayloadTooLargeError, "too large for RunAPI", "Make the source image smaller"),
    (415, UnsupportedMediaTypeError, "does not accept this type of file", "PNG, JPEG or WEBP"),
    (422, ValidationError, "did not accept the request", "Change the request"),
)
_REASON = "no tulips today"


def _create_rows():
    for status, error, says, todo in _REJECTIONS:
        keys = 2 if status == 404 else 1  # after "no such route" the other family is tried too
        fault = f"returns {status}"
        yield _rejected(
            fault, f"create={status}", error, _REJECTED, f"{says} ({status})", todo, keys=keys
        )
    yield _rejected(
        "returns 422 because the model is strict about resolutions", "create=strict_resolution",
        ValidationError, _REJECTED, "output_resolution", "Change the request",
        fields={"aspect_ratio": "1:1", "output_resolution": "4k"},
    )  # fmt: skip
    for shape in BODY_SHAPES:
        says = "(422)" if shape == "empty" else _REASON
        yield _rejected(
            "returns 422 with a body of any shape",
            f"create=422,body={shape},message={_REASON}",
            ValidationError, _REJECTED, says, "Change the request",
        )  # fmt: skip
    for status in (404, 405):
        yield _recovers(
            "create", f"returns {status} on one route family", f"create={status},times=1",
            result="The other route family is tried; the image is saved.", keys=2,
        )  # fmt: skip
    yield _recovers(
        "create", "returns 409 because the source is not ready yet, twice",
        "create=409,code=source_task_not_ready,times=2",
    )  # fmt: skip
    for option in ("", ",retry_after=0.3", ",retry_after=date"):
        delay = {"": "", ",retry_after=date": " with a date as Retry-After"}.get(
            option, " with seconds as Retry-After"
        )
        result = "The request is repeated after the delay; the image is saved."
        spec = f"create=429,times=2{option}" if not delay else f"create=429,times=1{option}"
        yield _recovers("create", f"returns 429{delay}", spec, result=result)
    for option, fault in (
        (",retry_after=60", " with a delay longer than the timeout"),
        ("", " always"),
    ):
        yield _rejected(
            f"returns 429{fault}", f"create=429{option}", RateLimitError,
            "The request is repeated without success. No task is created.", "Too many requests",
            WAIT,
        )  # fmt: skip
    for status in (408, 500, 502, 503, 504):
        yield _recovers("create", f"returns {status} twice", f"create={status},times=2")
        yield _uncertain(
            f"returns {status} always", f"create={status}", ServerError, "has a problem"
        )
    for status in (501, 505):
        yield _uncertain(f"returns {status}", f"create={status}", ServerError, "has a problem")
    yield _recovers(
        "create", "returns 500 but creates the task", "create=500,task_id_header=1,times=1"
    )
    for status, error, says in (
        (500, ServerError, "has a problem (500)"),
        (422, ValidationError, "(422)"),
    ):
        yield _uncertain(
            f"returns {status} always but creates the task",
            f"create={status},task_id_header=1", error, says, tasks=1, todo=RESUME,
            journal="running",
        )  # fmt: skip
    yield from _create_connections()


def _create_connections():
    lost = {
        "drop": "closes the connection",
        "drop_before": "closes the connection before it creates the task",
        "drop_after": "closes the connection after it creates the task",
        "bad_json": "sends half a response",
        "empty": "sends an empty response",
    }
    for effect, fault in lost.items():
        tasks = 1 if effect == "drop_after" else 0
        says = "not JSON" if effect == "bad_json" else "has no task ID"
        says = "connection" if effect.startswith("drop") else says
        yield _recovers("create", f"{fault}, once", f"create={effect},times=1")
        yield _uncertain(
            f"{fault}, always", f"create={effect}", ConnectionFailedError, says, tasks=tasks
        )
    yield _recovers(
        "create", "is slow", "create=slow,seconds=0.3", result="The image is saved later."
    )
    yield _recovers(
        "create",
        "is slower than the timeout",
        "create=slow,seconds=1,times=1",
        response_timeout=0.3,
    )
    yield _rejected(
        "redirects to another URL", "create=redirect_foreign", APIError,
        "The redirect is not followed: only the service gets the key.", "(307)",
        "Check the base URL",
    )  # fmt: skip
    plain = "The image is saved."
    yield _recovers("create", "returns 202 with a URL to poll", "create=202", result=plain)
    yield _recovers("create", "returns only an id", "create=id_only", result=plain)
    yield _recovers(
        "create", "returns a URL to poll on another origin", "create=location_foreign",
        result="This URL is not used; the image is saved.",
    )  # fmt: skip


# Polls


def _continues(fault, spec, error, says, todo, *, result, cents=PRICE, journal="running", **more):
    """Return a row in which the task continues and its id is in the journal."""
    return Row(
        "status", fault, (spec,), error, result, cents=cents, charged="maybe", messages=(says,),
        todo=todo, journal=journal, resumes=True, **more,
    )  # fmt: skip


_POLLED_AGAIN = "The poll is repeated; the image is saved."
_POLLS_FAIL = "Polls fail until the timeout; the task continues at the service."
_NOT_DONE = "was not finished after 1 s"


def _status_rows():
    yield _continues(
        "returns 401", "status=401", AuthenticationError, "did not accept the API key", RESUME,
        result="The key has been revoked; the task continues at the service.",
    )  # fmt: skip
    yield _continues(
        "returns 403", "status=403", PermissionDeniedError, "key does not have permission", RESUME,
        result="The key may no longer poll; the task continues at the service.",
    )  # fmt: skip
    yield _recovers("status", "returns 404 once", "status=404,times=1", result=_POLLED_AGAIN)
    for status in (404, 405, 410):
        yield _continues(
            f"returns {status} always", f"status={status}", NotFoundError, "did not find", RESUME,
            result="Every known URL is polled three times; the id stays in the journal.",
        )  # fmt: skip
    for status in (400, 402, 409, 413, 415, 422, 501, 505):
        yield _recovers(
            "status", f"returns {status} once", f"status={status},times=1", result=_POLLED_AGAIN
        )
    yield _recovers("status", "returns 429 twice", "status=429,times=2", result=_POLLED_AGAIN)
    yield _recovers(
        "status", "returns 429 with seconds as Retry-After", "status=429,retry_after=0.3,times=1",
        result="The poll is repeated after the delay; the image is saved.",
    )  # fmt: skip
    for status in (408, 500, 502, 503, 504):
        yield _recovers(
            "status", f"returns {status} twice", f"status={status},times=2", result=_POLLED_AGAIN
        )
    for status in (422, 429, 500, 503):
        yield _continues(
            f"returns {status} always", f"status={status}", TaskTimeoutError,
            "The last poll failed", RESUME, result=_POLLS_FAIL, timeout=SHORT_TIMEOUT,
        )  # fmt: skip
    odd = {
        "drop": "closes the connection",
        "bad_json": "sends half a response",
        "redirect_foreign": "redirects to another URL",
        "location_foreign": "redirects to another origin",
        "empty": "sends an empty response",
    }
    for effect, fault in odd.items():
        spec = f"status={effect},times=2"
        yield _recovers("status", f"{fault}, twice", spec, result=_POLLED_AGAIN)
        yield _continues(
            f"{fault}, always", f"status={effect}", TaskTimeoutError, "The last poll failed",
            RESUME, result=_POLLS_FAIL, timeout=SHORT_TIMEOUT,
        )  # fmt: skip
    yield _recovers(
        "status", "is slow", "status=slow,seconds=0.3", result="The image is saved later."
    )
    yield _recovers(
        "status",
        "uses synonyms of the status words",
        "status=synonyms",
        result="The image is saved.",
    )
    yield _recovers(
        "status", "returns an unknown status word, twice", "status=unknown,times=2",
        result="Polling continues, with a notice; the image is saved.",
    )  # fmt: skip
    for effect, fault in (
        ("unknown", "returns an unknown status word, always"),
        ("stuck", "never completes the task"),
    ):
        yield _continues(
            fault, f"status={effect}", TaskTimeoutError, _NOT_DONE, RESUME,
            result="Polling continues until the timeout; the task continues at the service.",
            timeout=SHORT_TIMEOUT,
        )  # fmt: skip
    yield _continues(
        "completes the task without an image", "status=no_images", TaskFailedError,
        "completed without an image", RESUME, journal="completed",
        result="The id stays in the journal; a later poll may find the image.",
    )  # fmt: skip
    yield Row(
        "status", "fails the task", ("status=failed,message=too many tulips",),
        TaskFailedError, "The task has failed; the error has the service's reason.", cents=0,
        charged="no", messages=("could not make the image: too many tulips",),
        todo="the prompt or the source, change it", journal="failed",
    )  # fmt: skip


# Downloads


def _not_downloaded(fault, spec, says, *, result, todo=RESUME, **more):
    """Return a row in which the image is charged, but stays at the service."""
    return Row(
        "download", fault, (spec,), DownloadError, result, messages=(says,), todo=todo,
        journal="completed", resumes=True, **more,
    )  # fmt: skip


_DOWNLOADED_AGAIN = "The download is repeated; the image is saved."
_DOWNLOADS_FAIL = "Three downloads fail; the image stays at the service, its id in the journal."
_NEW_URL = "A new URL is requested; the image is saved."


def _download_rows():
    for status in (403, 404, 410):
        yield _recovers(
            "download", f"returns {status} once", f"download={status},times=1", result=_NEW_URL
        )
    for status in (400, 401, 429, 500, 503):
        yield _recovers(
            "download",
            f"returns {status} once",
            f"download={status},times=1",
            result=_DOWNLOADED_AGAIN,
        )
    for status in (401, 403, 404, 410, 429, 500, 503):
        fresh = "A new URL does not work either" if status in {403, 404, 410} else ""
        yield _not_downloaded(
            f"returns {status} always", f"download={status}", f"returned status {status}",
            result=f"{fresh}; the task's id stays in the journal." if fresh else _DOWNLOADS_FAIL,
        )  # fmt: skip
    bad = {
        "drop": ("closes the connection in the middle", "download was interrupted"),
        "truncated": ("sends only half the file", "download was interrupted"),
        "huge": ("announces 10 GB", "download was interrupted"),
        "bad_json": ("sends a file of another type", "not a PNG, JPEG, WEBP or GIF"),
        "html": ("sends a web page", "not a PNG, JPEG, WEBP or GIF"),
        "empty": ("sends an empty file", "returned an empty file"),
        "corrupt": ("sends a damaged image", "damaged"),
        "redirect_foreign": ("redirects to another URL", "redirects more than 3 times"),
    }
    for effect, (fault, says) in bad.items():
        result = _DOWNLOADED_AGAIN
        if effect == "redirect_foreign":
            result = "The redirect is followed without the key; the image is saved."
        yield _recovers("download", f"{fault}, once", f"download={effect},times=1", result=result)
        yield _not_downloaded(
            f"{fault}, always", f"download={effect}", says, result=_DOWNLOADS_FAIL
        )
    yield _recovers(
        "download", "is slow", "download=slow,seconds=0.3", result="The image is saved later."
    )
    yield _recovers(
        "download", "stalls once for longer than the timeout", "download=slow,seconds=1,times=1",
        result=_DOWNLOADED_AGAIN, response_timeout=0.3,
    )  # fmt: skip
    yield _recovers(
        "download", "sends a small file of 400 megapixels", "download=bomb",
        result="The file is saved but not decoded; a grey preview says why.",
    )  # fmt: skip


# Uploads


def _not_uploaded(point, fault, spec, error, says, todo, **more):  # noqa: PLR0917 (a table's row)
    """Return a row in which the upload fails. No task is created and nothing is charged."""
    return Row(
        point, fault, (spec,), error, "The upload fails. No task is created.", tasks=0,
        cents=0, charged="no", messages=(says,), todo=todo, journal="refused",
        **({"keys": 0} | more),
    )  # fmt: skip


_UPLOAD_REJECTIONS = tuple(one for one in _REJECTIONS if one[0] in {401, 403, 404, 413, 415, 422})
_REPEATED = "The request is repeated; the image is saved."


def _upload_rows():
    for point, (status, error, says, todo) in product(("prepare", "confirm"), _UPLOAD_REJECTIONS):
        fault, spec = f"returns {status}", f"{point}={status}"
        yield _not_uploaded(point, fault, spec, error, f"{says} ({status})", todo)
    for point in ("prepare", "confirm"):
        yield _recovers(point, "returns 429 twice", f"{point}=429,times=2", result=_REPEATED)
        yield _recovers(point, "returns 503 twice", f"{point}=503,times=2", result=_REPEATED)
        yield _recovers(
            point, "closes the connection, once", f"{point}=drop,times=1", result=_REPEATED
        )
        yield _recovers(
            point, "is slow", f"{point}=slow,seconds=0.3", result="The image is saved later."
        )
        yield _not_uploaded(
            point, "returns 429 always", f"{point}=429", RateLimitError, "Too many requests",
            WAIT,
        )  # fmt: skip
        for status in (500, 503):
            yield _not_uploaded(
                point, f"returns {status} always", f"{point}={status}", ServerError,
                "has a problem", LATER,
            )  # fmt: skip
        for effect, fault, says in (
            ("drop", "closes the connection, always", "connection"),
            ("bad_json", "sends half a response", "not JSON"),
            ("empty", "sends an empty response", "not JSON"),
        ):
            yield _not_uploaded(
                point,
                fault,
                f"{point}={effect}",
                ConnectionFailedError,
                says,
                "Check the network",
            )
        yield _not_uploaded(
            point, "redirects to another URL", f"{point}=redirect_foreign", APIError, "(307)",
            "Check the base URL",
        )  # fmt: skip
    yield from _put_rows()


def _put_rows():
    says = "The file storage did not accept the source image"
    for status, error, todo in (
        (400, ValidationError, WAIT),
        (401, AuthenticationError, WAIT),
        (403, PermissionDeniedError, WAIT),
        (413, PayloadTooLargeError, "Make the source image smaller"),
        (429, RateLimitError, WAIT),
        (500, ServerError, WAIT),
        (503, ServerError, WAIT),
    ):
        yield _not_uploaded(
            "put", f"returns {status}", f"put={status}", error, f"{says} ({status})", todo
        )
    yield _not_uploaded(
        "put", "closes the connection", "put=drop", ConnectionFailedError, "could not be uploaded",
        "Check the network",
    )  # fmt: skip
    yield _not_uploaded(
        "put", "redirects to another URL", "put=redirect_foreign", APIError, f"{says} (307)", WAIT
    )
    for effect in ("bad_json", "empty"):
        yield _not_uploaded(
            "put", "confirms the upload but stores nothing", f"put={effect}", ValidationError,
            "has not been uploaded", "",
        )  # fmt: skip
    yield _recovers("put", "is slow", "put=slow,seconds=0.3", result="The image is saved later.")


ROWS = (*_upload_rows(), *_create_rows(), *_status_rows(), *_download_rows())


# Pairs of faults

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


def _once(point):
    return [f"{point}={effect},times=1" for effect in _ONCE[point]]


def _combine(one, other):
    return list(product(_once(one), _once(other)))


PAIRS = [
    *_combine("create", "status"),
    *_combine("create", "download"),
    *_combine("status", "download"),
    *(pair for point in ("prepare", "put", "confirm") for pair in _combine(point, "create")),
    # The response to the first create request is lost; then any other fault.
    *(("create=drop_after,times=1", f"{spec},skip=1") for spec in _once("create")),
    # Every create response is lost; then any fault while a new kernel resumes the task.
    *(("create=drop_after", spec) for spec in (*_once("status"), *_once("download"))),
]  # fmt: skip
