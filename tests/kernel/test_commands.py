"""``%runapi`` in a kernel: status, models, balance, simulator, login, resume, cancel."""

from __future__ import annotations

import json
import stat

import pytest

from runapi_magic.core.catalog import CATALOGUE
from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel


def test_status_names_the_service_and_where_the_key_is_from(kernel, server):
    """``%runapi status`` names the address, the key's source, and the end of the key alone."""
    said = kernel.run_ok("%runapi status").text
    assert server.url in said
    assert f"…{KEY[-4:]} from RUNAPI_API_KEY" in said
    assert KEY not in said
    assert "gpt-images" in said
    assert "journal" in said


def test_models_lists_the_catalogue(kernel):
    """``%runapi models`` lists models with their fields and allowed values."""
    said = kernel.run_ok("%runapi models").text
    for word in ("gpt-image-2", "gpt-4o-image", "flux-kontext-pro", "1:1|3:2|2:3", "2k"):
        assert word in said
    of_flux = said.split("flux-kontext-pro  (")[1].split("USD")[0]
    generate, edit = of_flux.split("    edit: 1 source; ")
    assert "safety_tolerance=0|1|2|3|4|5|6\n" in generate
    assert "safety_tolerance=0|1|2\n" in edit


def test_models_of_a_name(kernel):
    """Words choose models by name and title, in any case; where there is none, that is said."""
    names = [model.name for model in CATALOGUE]

    def listed(words):
        said = kernel.run_ok(f"%runapi models {words}").text
        assert said.strip().endswith("-p sets any other field.")
        return [name for name in names if f"{name}  (" in said], said

    assert listed("flux")[0] == ["flux-kontext-pro", "flux-kontext-max"]
    assert listed("Kontext MAX")[0] == ["flux-kontext-max"]
    assert listed("")[0] == names
    none, said = listed("no-such")
    assert none == []
    assert said.startswith("The catalogue has no model with 'no-such' in its name.\n")


@pytest.mark.parametrize("line", ["status foo", "balance now", "batches 3", "freeze now"])
def test_words_that_a_command_does_not_take(kernel, line):
    """Words after a command that takes none are refused, and nothing is done."""
    name, word = line.split()
    cell = kernel.run(f"%runapi {line}")
    assert cell.stream("stderr").splitlines() == [
        f"UsageError: %runapi {name} takes no {word!r}.",
        "Nothing was sent, nothing was charged.",
        f"Leave it out: %runapi {name}",
    ]


def test_a_key_in_the_cell_is_not_taken(kernel):
    """A key after ``%runapi login`` is refused, and is not repeated in the output."""
    cell = kernel.run(f"%runapi login {KEY}")
    assert "UsageError: %runapi login takes no key in the cell" in cell.text
    assert "Take it out of the cell" in cell.text
    assert KEY not in cell.text
    assert kernel.questions == []


@pytest.mark.parametrize("live", [True, False])
def test_balance(kernel, server, live):
    """``%runapi balance`` shows what is left, in a live front end and with nobody there."""
    cell = kernel.run_ok("%runapi balance", live=live)
    kernel.wait(lambda: "Balance $" in cell.text)
    assert "Spent by the account today" in cell.text


def test_balance_error_is_told_in_words(kernel, server):
    """An error of the service is told in its three parts, in the place of the answer."""
    server.fault("balance=403,message=not for you")
    cell = kernel.run("%runapi balance")
    kernel.wait(lambda: "not for you" in cell.text)
    assert "Traceback" not in cell.text
    assert "Use a key that may" in cell.text


def test_unknown_command_lists_the_known(kernel):
    """An unknown command is refused with the list of those there are."""
    said = kernel.run("%runapi fly").stream("stderr")
    assert said.startswith("UsageError: ")
    assert "status" in said
    assert "balance" in said


@pytest.mark.parametrize("speed", ["10", "--speed much", "--speed"])
def test_simulator_at_no_speed(kernel, speed):
    """A speed that is none is refused with what would be one, and nothing is switched on."""
    said = kernel.run(f"%runapi simulator on {speed}").stream("stderr")
    assert f"takes --speed and a number, and this is '{speed}'." in said
    assert "simulator in this kernel" not in kernel.run_ok("%runapi status").text


def test_simulator_on_and_off(kernel, server):
    """With the simulator on nothing reaches the service; off again, everything does."""
    kernel.run_ok("%runapi simulator on --speed 40")
    cell = kernel.run_ok("%gpt_image a hill for the simulator")
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "simulated, not charged" in cell.text)
    assert server.bodies("for the simulator") == []
    assert "simulator in this kernel" in kernel.run_ok("%runapi status").text
    kernel.run_ok("%runapi simulator off")
    kernel.wait_for_images(kernel.run_ok("%gpt_image a hill for the service"))
    assert len(server.bodies("for the service")) == 1


def test_login_keeps_the_key_in_a_private_file(tmp_path):
    """``%runapi login`` asks without showing, writes a file of mode 0600, and it is used."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.answers.append(KEY)
            said = kernel.run_ok("%runapi login").text
            (question,) = kernel.questions
            path = tmp_path / "home" / ".config" / "runapi" / "config.json"
            status = kernel.run_ok("%runapi status").text
            picture = kernel.run_ok("%gpt_image a hill after login")
            kernel.wait_for_images(picture)
    assert question["password"] is True
    assert KEY not in said + status
    assert str(path) in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["api_key"] == KEY
    assert "RunAPI CLI" in status


def test_run_all_again_is_free(kernel, server):
    """The same cell again shows the picture from disk and sends nothing; ``--new`` asks afresh."""
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
    """``%runapi cancel`` ends the waiting and says it may be charged; a resume gets it."""
    server.fault("status=stuck,match=given up")
    cell = kernel.run_ok("%%gpt_image -o given\na hill given up")
    kernel.wait(lambda: len(server.bodies("given up")) == 1)
    kernel.wait(lambda: kernel.value("len(given.task_ids)") == 1)
    said = kernel.run_ok("%runapi cancel").text
    (task_id,) = kernel.value("given.task_ids")
    assert task_id in said
    assert "may be charged" in said
    kernel.wait(lambda: "Stopped" in cell.text)
    server.clear_faults()
    kernel.wait_for_images(kernel.run_ok(f"%runapi resume {task_id}"))
    assert len(server.bodies("given up")) == 1


def test_resume_after_a_crash(tmp_path):
    """A kernel that is killed while a task is under way: the next one gets the picture."""
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


def test_resume_shows_what_was_asked_for(tmp_path):
    """While a task is gone on with, its placeholder has its own model, shape and source."""
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
            text, all_shown = cell.text, str(kernel.received)
            server.clear_faults()
            kernel.wait(lambda: cell.is_done)
            asked = kernel.value("[(p.request.model, dict(p.request.fields)) for p in both.parts]")
            model = kernel.value("both.request.model")
    assert "a resumable lake\nflux-kontext-pro · 16:9\n" in text
    assert "upscale image: hill\ntopaz-upscale-image\n" in text
    assert "flux-kontext-pro" in all_shown
    assert "gpt-image-2" not in all_shown
    assert model == "flux-kontext-pro"
    assert asked == [
        ("flux-kontext-pro", {"aspect_ratio": "16:9"}),
        ("topaz-upscale-image", {"upscale_factor": 2}),
    ]
