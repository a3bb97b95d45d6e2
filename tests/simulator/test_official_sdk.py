"""RunAPI's published Python SDK as a client of the simulator, over a socket."""

import io

import httpx
import pytest
from PIL import Image
from runapi.core import PollingOptions, PricingClient, RequestOptions, errors
from runapi.flux_kontext import FluxKontextClient
from runapi.gpt_4o_image import Gpt4oImageClient
from runapi.gpt_image_2 import GptImage2Client
from runapi.recraft import RecraftClient
from runapi.topaz import TopazClient

from .conftest import png_bytes

SOURCE = "https://example.org/cat.png"


@pytest.fixture
def client(server):
    """Return a function that makes clients of the server."""
    opened = []

    def make(kind, *, key="sk-test", **options):
        made = kind(key, base_url=server.url, max_retries=0, timeout=20, **options)
        opened.append(made)
        return made

    yield make
    for made in opened:
        made._http.close()


def test_create_and_get(client):
    """A created task has the SDK's types and can be polled."""
    images = client(GptImage2Client).text_to_image
    created = images.create(model="gpt-image-2", prompt="a fox")
    found = images.get(created.id)
    assert (created.status, found.id) == ("pending", created.id)
    assert found.runapi_task_id == created.id


@pytest.mark.parametrize(
    ("kind", "resource", "fields", "count"),
    [
        (GptImage2Client, "text_to_image", {"model": "gpt-image-2", "prompt": "a fox"}, 1),
        (
            GptImage2Client,
            "edit_image",
            {"model": "gpt-image-2", "prompt": "sepia", "source_image_urls": [SOURCE]},
            1,
        ),
        (
            Gpt4oImageClient,
            "text_to_image",
            {"model": "gpt-4o-image", "prompt": "a fox", "aspect_ratio": "3:2", "output_count": 2},
            2,
        ),
        (FluxKontextClient, "text_to_image", {"model": "flux-kontext-pro", "prompt": "a fox"}, 1),
        (
            TopazClient,
            "upscale_image",
            {"model": "topaz-upscale-image", "source_image_url": SOURCE, "upscale_factor": 1},
            1,
        ),
        (
            RecraftClient,
            "remove_background",
            {"model": "recraft-remove-background", "source_image_url": SOURCE},
            1,
        ),
        (
            RecraftClient,
            "upscale_image",
            {"model": "recraft-crisp-upscale", "source_image_url": SOURCE},
            1,
        ),
    ],
)
def test_run_returns_images(client, kind, resource, fields, count):
    """The run() of every package returns images that can be decoded, and their cost."""
    made = getattr(client(kind), resource).run(**fields)
    assert made.status == "completed"
    assert (len(made.images), made.usage.generated_images) == (count, count)
    assert made.usage.cost > 0
    with Image.open(io.BytesIO(httpx.get(made.images[0].url).content)) as image:
        image.load()


def test_an_idempotency_key_gives_the_same_task(client):
    """The SDK shows task_replayed. A conflict raises its ConflictError."""
    images = client(GptImage2Client).text_to_image
    options = RequestOptions(headers={"Idempotency-Key": "sdk-one"})
    first = images.create(model="gpt-image-2", prompt="a fox", options=options)
    again = images.create(model="gpt-image-2", prompt="a fox", options=options)
    assert (again.id, again.task_replayed) == (first.id, True)
    with pytest.raises(errors.ConflictError) as caught:
        images.create(model="gpt-image-2", prompt="a dog", options=options)
    assert caught.value.code == "request_conflict"


def test_a_202_is_followed_to_its_location(server, client):
    """The SDK polls the Location of a 202 and decodes the stored response."""
    server.fault("create=202,times=1")
    images = client(GptImage2Client).text_to_image
    made = images._run_hybrid(
        "post",
        images.ENDPOINT,
        body={"model": "gpt-image-2", "prompt": "a fox"},
        polling_options=PollingOptions(poll_interval=0.05, max_wait=30),
    )
    assert (made.status, len(made.images)) == ("completed", 1)


def test_a_task_that_fails_behind_a_location(server, client):
    """The envelope of a failed task becomes an error with the reason."""
    server.fault("create=202,times=1", "status=failed,times=1,message=no dragons")
    images = client(GptImage2Client).text_to_image
    with pytest.raises(errors.ValidationError, match="no dragons"):
        images._run_hybrid(
            "post", images.ENDPOINT, body={"model": "gpt-image-2", "prompt": "a dragon"}
        )


def test_files_from_url_base64_and_disk(client, tmp_path):
    """All three ways to upload return a file object. Its URL returns the image."""
    files = client(GptImage2Client).files
    path = tmp_path / "cat.png"
    path.write_bytes(png_bytes())
    data = "data:image/png;base64,iVBORw0KGgo="
    found = [files.create(file=path), files.create(source=SOURCE), files.create(source=data)]
    assert [f.file_name for f in found] == ["cat.png", "cat.png", "upload.png"]
    assert httpx.get(found[0].url).content == path.read_bytes()


def test_account_and_balance(client):
    """The SDK's models accept both responses."""
    account = client(GptImage2Client).account
    assert isinstance(account.info().account.id, int)
    balance = account.balance()
    assert balance.balance_cents == balance.paid_balance_cents + balance.bonus_balance_cents


def test_quotes_and_schedules(server, client):
    """The SDK's models accept both responses. Schedules need no key."""
    quote = client(GptImage2Client).pricing.create_quote(
        "gpt_image_2", "text_to_image", "gpt-image-2", {"output_resolution": "4k"}
    )
    assert quote.price_quote.reservation_amount_cents == 16
    public = PricingClient(base_url=server.url)
    (schedule,) = public.list_schedules(service="topaz").price_schedules
    public._http.close()
    assert (schedule.model, schedule.unit_price_cents) == ("topaz-upscale-image", 10)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.ValidationError),
        (402, errors.InsufficientCreditsError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.ValidationError),
        (429, errors.RateLimitError),
        (500, errors.ServerError),
        (501, errors.ServerError),
        (502, errors.ServerError),
        (503, errors.ServiceUnavailableError),
        (504, errors.ServerError),
        (505, errors.ServerError),
    ],
)
def test_each_status_becomes_its_error(server, client, status, kind):
    """The SDK raises its own class with code, message, request id and task id."""
    server.fault(f"create={status},code=word,message=why,task_id_header=1,times=1")
    with pytest.raises(kind, match="why") as caught:
        client(GptImage2Client).text_to_image.create(model="gpt-image-2", prompt="x")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, "word")
    assert caught.value.request_id.startswith("req_")
    assert caught.value.runapi_task_id.startswith("tsk_")


@pytest.mark.parametrize(("value", "seconds"), [("2", 2), ("1.5", 1.5), ("date", 2)])
def test_retry_after_is_understood(server, client, value, seconds):
    """The SDK reads all three forms of Retry-After."""
    server.fault(f"create=429,retry_after={value},times=1")
    with pytest.raises(errors.RateLimitError) as caught:
        client(GptImage2Client).text_to_image.create(model="gpt-image-2", prompt="x")
    # A date has whole seconds, and the response takes some time.
    assert seconds - 2 < caught.value.retry_after <= seconds


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("bad", errors.AuthenticationError),
        ("broke", errors.InsufficientCreditsError),
        ("forbidden", errors.Error),
    ],
)
def test_keys_choose_the_error(client, key, kind):
    """The start of the key selects 401, 402 or 403."""
    with pytest.raises(kind):
        client(GptImage2Client, key=key).text_to_image.create(model="gpt-image-2", prompt="x")


def test_a_dropped_connection_is_a_network_error(server, client):
    """The SDK raises NetworkError when the connection closes."""
    server.fault("create=drop_after,times=1")
    with pytest.raises(errors.NetworkError):
        client(GptImage2Client).text_to_image.create(model="gpt-image-2", prompt="x")


def test_a_failed_task_is_a_task_failed_error(server, client):
    """run() raises TaskFailedError with the service's reason."""
    server.fault("status=failed,times=1,message=no dragons")
    with pytest.raises(errors.TaskFailedError, match="no dragons"):
        client(GptImage2Client).text_to_image.run(model="gpt-image-2", prompt="a dragon")


def test_an_unknown_status_is_a_failure_for_the_sdk(server, client):
    """The SDK's model refuses an unknown status word."""
    server.fault("status=unknown,times=1")
    with pytest.raises(errors.ValidationError, match="mysterious"):
        client(GptImage2Client).text_to_image.run(model="gpt-image-2", prompt="x")
