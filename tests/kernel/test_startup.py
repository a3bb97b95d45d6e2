"""What ``%load_ext`` and the first placeholder do without, and that nobody notices."""

from __future__ import annotations

import pytest

from runapi_magic.notebook.extension import MAGICS
from runapi_magic.notebook.magics import RunAPIMagics
from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

LOAD = "%load_ext runapi_magic"
HEAVY = {"httpx", "httpcore", "aiohttp", "PIL", "ipywidgets", "anywidget", "tenacity", "starlette"}
REST = {
    "engine.pipeline",
    "http.transport",
    "http.client",
    "engine.backend",
    "journal.task_log",
    "engine.image_store",
    "engine.image",
    "engine.library",
}
# Notes what is imported when the first output is published.
WATCH = """
import sys
publisher = get_ipython().display_pub
publish, imported = publisher.publish, []
def note(*arguments, **named):
    imported.append(sorted(sys.modules))
    return publish(*arguments, **named)
publisher.publish = note
"""
BEFORE = "import sys\nbefore = set(sys.modules)"


@pytest.fixture(scope="module")
def address():
    """Where a simulator server answers."""
    with serve_simulator("--speed", "60") as server:
        yield server.url


@pytest.fixture
def fresh(tmp_path, address):
    """A kernel in which nothing was run, with a key and a simulator server to send it to."""
    environment = clean_environment(tmp_path, RUNAPI_BASE_URL=address, RUNAPI_API_KEY=KEY)
    with start_kernel(tmp_path, environment) as kernel:
        yield kernel


@pytest.fixture
def loaded(fresh):
    """The same, with the extension just loaded."""
    fresh.run_ok(LOAD)
    return fresh


@pytest.mark.versions
def test_load_ext_imports_few_modules(fresh):
    """``%load_ext`` imports five small modules of ours and, but for IPython's own, no others."""
    fresh.run_ok(BEFORE)
    fresh.run_ok(LOAD)
    new = set(fresh.value("sorted(set(sys.modules) - before)"))
    ours = {
        f"runapi_magic.{name}"
        for name in (
            "notebook.extension",
            "core.paths",
            "journal.startup_check",
            "core.printing",
            "notebook.question_mark",
            "_version",
            "models",  # a name for the catalogue, without a file
            "core",
            "journal",
            "notebook",
        )
    }
    assert new - {"IPython.core.magics.extension"} == {"runapi_magic", *ours}


@pytest.mark.versions
def test_first_placeholder_comes_before_what_takes_long(loaded):
    """The first placeholder is published before any HTTP, picture or widget package is imported."""
    loaded.run_ok(WATCH)
    cell = loaded.run_ok("%%gpt_image\na hill that waits for nothing")
    first = set(loaded.value("imported[0]"))
    assert {name.partition(".")[0] for name in first} & HEAVY == set()
    assert {f"runapi_magic.{name}" for name in REST} & first == set()
    assert "a hill that waits for nothing" in cell.text
    loaded.wait_for_images(cell)


def test_documentation_of_a_magic_that_was_never_used(loaded):
    """``%gpt_image?`` shows the options right after ``%load_ext``."""
    loaded.run_ok("%gpt_image?")
    (page,) = [one["payload"] for one in loaded.received if one.get("payload")]
    assert "--aspect-ratio RATIO" in page[0]["data"]["text/plain"]


@pytest.mark.versions
def test_help_of_a_front_end(loaded):
    """Shift-Tab on a magic that was never used gives its documentation."""
    reply = loaded.client.inspect("%%gpt_edit", cursor_pos=8, reply=True, timeout=30)
    assert "Edit pictures by an instruction" in reply["content"]["data"]["text/plain"]


@pytest.mark.versions
def test_magics_are_listed_and_completed_without_being_imported(loaded):
    """Completion knows all names, and is no use of them."""
    reply = loaded.client.complete("%gpt_", cursor_pos=5, reply=True, timeout=30)
    assert set(reply["content"]["matches"]) >= {"%gpt_image", "%gpt_edit", "%gpt_panel"}
    loaded.run_ok("import sys")
    assert loaded.value("'runapi_magic.notebook.magics' in sys.modules") is False


def test_lsmagic(loaded):
    """``%lsmagic`` lists the magics right after ``%load_ext``."""
    said = loaded.run_ok("%lsmagic").text
    assert all(f"%{name}" in said for name in MAGICS["line"])
    assert all(f"%%{name}" in said for name in MAGICS["cell"])


@pytest.mark.versions
def test_config_lists_settings_that_were_never_used(loaded):
    """``%config`` lists the settings once, shows them and completes their names."""
    assert loaded.run_ok("%config").text.split().count("RunAPIMagics") == 1
    assert "RunAPIMagics.preview_size=<Int>" in loaded.run_ok("%config RunAPIMagics").text


@pytest.mark.versions
def test_config_completes_settings_that_were_never_used(loaded):
    """Tab behind ``%config RunAPIMagics.`` gives the settings' names."""
    text = "%config RunAPIMagics.prev"
    reply = loaded.client.complete(text, cursor_pos=len(text), reply=True, timeout=30)
    assert "RunAPIMagics.preview_size" in reply["content"]["matches"]


def test_config_sets_what_was_never_used(loaded):
    """``%config RunAPIMagics.x = ...`` as the first use counts for the cells after it."""
    loaded.run_ok("%config RunAPIMagics.aspect_ratio = '3:4'")
    assert "'3:4'" in loaded.run_ok("%config RunAPIMagics.aspect_ratio").result
    cell = loaded.run_ok("%%gpt_image -o hill\na hill that stands upright")
    loaded.wait_for_images(cell)
    assert loaded.value("hill.image.size") == (768, 1024)


@pytest.mark.versions
def test_configuration_file(tmp_path):
    """``c.RunAPIMagics`` in ipython_config.py counts."""
    environment = clean_environment(tmp_path)
    _configure(tmp_path, "c.RunAPIMagics.model = 'flux-kontext-pro'")
    with start_kernel(tmp_path, environment, LOAD) as kernel:
        assert "flux-kontext-pro" in kernel.run_ok("%config RunAPIMagics.model").result


def test_mistake_in_the_configuration_file(tmp_path):
    """A setting of the wrong kind in ipython_config.py is told by ``%load_ext``, as ever."""
    environment = clean_environment(tmp_path)
    _configure(tmp_path, "c.RunAPIMagics.concurrency = 'many'")
    with start_kernel(tmp_path, environment) as kernel:
        cell = kernel.run(LOAD)
        assert "'concurrency' trait of a RunAPIMagics instance" in cell.text


def test_lines_of_the_configuration_file(tmp_path):
    """Magics in ipython_config.py, run before the kernel has its loop, do not hold up others."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        _configure(
            tmp_path,
            "c.InteractiveShellApp.extensions = ['runapi_magic']\n"
            "c.InteractiveShellApp.exec_lines = ['%runapi budget 2 --day', '%runapi balance']",
        )
        with start_kernel(tmp_path, environment) as kernel:
            cell = kernel.run_ok("%gpt_image -o hill a hill in the morning")
            kernel.wait_for_images(cell)
            assert "Budget of the day  $2.00" in kernel.run_ok("%runapi budget").text
            assert "Balance" in kernel.run_ok("%runapi balance").text


def _configure(folder, line):
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text(f"c = get_config()\n{line}\n")


@pytest.mark.parametrize("use", ["pass", "%config RunAPIMagics.model"])
def test_reload_and_unload(loaded, use):
    """Loaded again there is one of everything; unloaded there is none, used or not."""
    loaded.run_ok(use)
    loaded.run_ok("%reload_ext runapi_magic")
    counts = "%config RunAPIMagics.concurrency = 3\n%config"
    assert loaded.run_ok(counts).text.split().count("RunAPIMagics") == 1
    assert loaded.run_ok("%config RunAPIMagics.concurrency").result == "3"
    loaded.run_ok("%unload_ext runapi_magic")
    assert "RunAPIMagics" not in loaded.run_ok("%config").text
    assert "not found" in loaded.run("%gpt_image a hill").text
    left = "[t for t in get_ipython().input_transformers_post if 'runapi' in repr(t)]"
    assert loaded.value(left) == []


def test_names_are_those_of_the_magics():
    """The names that are put into the shell's tables are those that have a magic behind them."""
    assert {kind: set(names) for kind, names in MAGICS.items()} == {
        kind: set(names) for kind, names in RunAPIMagics.magics.items()
    }


def test_cancelled_in_the_cell_that_asked(loaded):
    """What is cancelled while the rest is still being imported says so in its place."""
    code = "%gpt_image --detach -o hill a hill that is not to be\nhill.cancel()"
    cell = loaded.run_ok(code, live=False)
    loaded.wait(lambda: "Stopped before it began." in cell.text)
