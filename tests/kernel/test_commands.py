"""The commands of ``%runapi`` in a kernel: status, models, balance, simulator and cancel."""

from __future__ import annotations

import json
import stat

import pytest

from runapi_magic.core.catalog import CATALOGUE
from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel


def test_status_shows_the_url_and_the_source_of_the_key(kernel, server):
    """``%runapi status`` shows the URL, where the key is from, and only the end of the key."""
    text = kernel.run_ok("%runapi status").text
    assert server.url in text
    assert f"…{KEY[-4:]} from RUNAPI_API_KEY" in text
    assert KEY not in text
    assert "gpt-images" in text
    assert "journal" in text


def test_models_lists_the_catalog(kernel):
    """``%runapi models`` lists the models with their fields and the allowed values."""
    text = kernel.run_ok("%runapi models").text
    for word in ("gpt-image-2", "gpt-4o-image", "flux-kontext-pro", "1:1|3:2|2:3", "2k"):
        assert word in text
    of_flux = text.split("flux-kontext-pro  (")[1].split("USD")[0]
    generate, edit = of_flux.split("    edit: 1 source; ")
    assert "safety_tolerance=0|1|2|3|4|5|6\n" in generate
    assert "safety_tolerance=0|1|2\n" in edit


def test_models_can_be_searched_by_name(kernel):
    """Words select models by name or title, in any case. A message says if no model matches."""
    names = [model.name for model in CATALOGUE]

    def listed(words):
        text = kernel.run_ok(f"%runapi models {words}").text
        assert text.strip().endswith("-p sets any other field.")
        return [name for name in names if f"{name}  (" in text], text

    assert listed("flux")[0] == ["flux-kontext-pro", "flux-kontext-max"]
    assert listed("Kontext MAX")[0] == ["flux-kontext-max"]
    assert listed("")[0] == names
    names_found, text = listed("no-such")
    assert names_found == []
    assert text.startswith("The catalogue has no model with 'no-such' in its name.\n")


@pytest.mark.parametrize("line", ["status foo", "balance now", "batches 3", "freeze now"])
def test_unexpected_arguments_are_rejected(kernel, line):
    """A command without arguments rejects any argument and does nothing."""
    name, word = line.split()
    cell = kernel.run(f"%runapi {line}")
    assert cell.stream("stderr").splitlines() == [
        f"UsageError: %runapi {name} takes no arguments (got {word!r}).",
        "Nothing was sent, nothing was charged.",
        f"Run it without arguments: %runapi {name}",
    ]


def test_login_rejects_a_key_in_the_cell(kernel):
    """``%runapi login`` rejects a key in the cell and does not repeat it in the output."""
    cell = kernel.run(f"%runapi login {KEY}")
    assert "UsageError: %runapi login takes no key in the cell" in cell.text
    assert "Remove it from the cell" in cell.text
    assert KEY not in cell.text
    assert kernel.questions == []


@pytest.mark.parametrize("live", [True, False])
def test_balance(kernel, server, live):
    """``%runapi balance`` shows the balance, in a live notebook and in an unattended run."""
    cell = kernel.run_ok("%runapi balance", live=live)
    kernel.wait(lambda: "Balance $" in cell.text)
    assert "Spent by the account today" in cell.text


def test_balance_error_is_a_message(kernel, server):
    """An error of the service is shown as a message instead of the balance, without a traceback."""
    server.fault("balance=403,message=not for you")
    cell = kernel.run("%runapi balance")
    kernel.wait(lambda: "not for you" in cell.text)
    assert "Traceback" not in cell.text
    assert "Use a key with access" in cell.text


def test_unknown_command_lists_the_commands(kernel):
    """An unknown command is rejected with a list of the commands."""
    text = kernel.run("%runapi fly").stream("stderr")
    assert text.startswith("UsageError: ")
    assert "status" in text
    assert "balance" in text


@pytest.mark.parametrize("speed", ["10", "--speed much", "--speed"])
def test_simulator_rejects_a_wrong_speed(kernel, speed):
    """A value that is not a speed is rejected, and the simulator stays off."""
    text = kernel.run(f"%runapi simulator on {speed}").stream("stderr")
    assert f"takes --speed and a number (got '{speed}')." in text
    assert "simulator in this kernel" not in kernel.run_ok("%runapi status").text


def test_simulator_on_and_off(kernel, server):
    """While the simulator is on, requests do not reach the service; afterwards they do."""
    kernel.run_ok("%runapi simulator on --speed 40")
    cell = kernel.run_ok("%gpt_image a hill for the simulator")
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "simulated, not charged" in cell.text)
    assert server.bodies("for the simulator") == []
    assert "simulator in this kernel" in kernel.run_ok("%runapi status").text
    kernel.run_ok("%runapi simulator off")
    kernel.wait_for_images(kernel.run_ok("%gpt_image a hill for the service"))
    assert len(server.bodies("for the service")) == 1


def test_login_saves_the_key_in_a_private_file(tmp_path):
    """``%runapi login`` hides what is typed, saves the key with mode 0600, and uses it."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.answers.append(KEY)
            text = kernel.run_ok("%runapi login").text
            (question,) = kernel.questions
            path = tmp_path / "home" / ".config" / "runapi" / "config.json"
            status = kernel.run_ok("%runapi status").text
            cell = kernel.run_ok("%gpt_image a hill after login")
            kernel.wait_for_images(cell)
    assert question["password"] is True
    assert KEY not in text + status
    assert str(path) in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["api_key"] == KEY
    assert "RunAPI CLI" in status


def test_repeated_cell_is_free(kernel, server):
    """A repeated cell shows the saved image and sends nothing; ``--new`` sends a new request."""
    first = kernel.run_ok("%%gpt_image -o one\na hill asked for twice")
    kernel.wait_for_images(first)
    kernel.run_ok("await one")
    second = kernel.run_ok("%%gpt_image -o two\na hill asked for twice")
    kernel.wait_for_images(second)
    assert len(server.bodies("asked for twice")) == 1
    assert kernel.value("one.image.path == two.image.path")
    third = kernel.run_ok("%%gpt_image --new -o three\na hill asked for twice")
    kernel.wait_for_images(third)
    assert len(server.bodies("asked for twice")) == 2
    assert kernel.value("one.image.path != three.image.path")


def test_cancel_stops_waiting(kernel, server):
    """``%runapi cancel`` stops waiting and says that the task may be charged; resume gets it."""
    server.fault("status=stuck,match=given up")
    cell = kernel.run_ok("%%gpt_image -o given\na hill given up")
    kernel.wait(lambda: len(server.bodies("given up")) == 1)
    kernel.wait(lambda: kernel.value("len(given.task_ids)") == 1)
    text = kernel.run_ok("%runapi cancel").text
    (task_id,) = kernel.value("given.task_ids")
    assert task_id in text
    assert "may finish and be charged" in text
    kernel.wait(lambda: "Stopped" in cell.text)
    server.clear_faults()
    kernel.wait_for_images(kernel.run_ok(f"%runapi resume {task_id}"))
    assert len(server.bodies("given up")) == 1


def test_resume_after_a_crash(tmp_path):
    """If a kernel is killed while a task runs, the next one resumes the task and gets the image."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        server.fault("status=stuck")
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("%%gpt_image -o lost\na hill that outlives its kernel")
            kernel.wait(lambda: kernel.value("len(lost.task_ids)") == 1)
        server.clear_faults()
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            cell = kernel.run_ok("%runapi resume")
            kernel.wait_for_images(cell)
            assert "hill that outlives" in cell.text
            assert "Nothing is unfinished." in kernel.run_ok("%runapi resume").text
        assert len(server.state()["tasks"]) == 1


def test_resume_shows_the_requests(tmp_path):
    """The placeholder of a resumed task shows the model, the aspect ratio and the source."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("%gpt_image -a 1:1 -o hill a hill", live=False)
            server.fault("status=stuck")
            kernel.run_ok("%gpt_image -m flux-kontext-pro -a 16:9 -o lake a resumable lake")
            kernel.run_ok("%gpt_edit hill -m topaz-upscale-image -p upscale_factor=2 -o large")
            kernel.wait(lambda: kernel.value("len(lake.task_ids + large.task_ids)") == 2)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            cell = kernel.start("both = %runapi resume")
            kernel.wait(lambda: cell.text.count("The service is drawing") == 2)
            text, messages = cell.text, str(kernel.received)
            server.clear_faults()
            kernel.wait(lambda: cell.is_done)
            requests = kernel.value(
                "[(p.request.model, dict(p.request.fields)) for p in both.tasks]"
            )
            model = kernel.value("both.request.model")
    assert "a resumable lake\nflux-kontext-pro · 16:9\n" in text
    assert "upscale image: hill\ntopaz-upscale-image\n" in text
    assert "flux-kontext-pro" in messages
    assert "gpt-image-2" not in messages
    assert model == "flux-kontext-pro"
    assert requests == [
        ("flux-kontext-pro", {"aspect_ratio": "16:9"}),
        ("topaz-upscale-image", {"upscale_factor": 2}),
    ]
