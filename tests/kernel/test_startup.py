"""Imports of ``%load_ext`` and of the first placeholder, and features before the first use."""

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
# Records the imported modules at each output.
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
def url():
    """Return the URL of a simulator server."""
    with serve_simulator("--speed", "60") as server:
        yield server.url


@pytest.fixture
def fresh(tmp_path, url):
    """Start a kernel with a key and a simulator server; it has run no cell."""
    environment = clean_environment(tmp_path, RUNAPI_BASE_URL=url, RUNAPI_API_KEY=KEY)
    with start_kernel(tmp_path, environment) as kernel:
        yield kernel


@pytest.fixture
def loaded(fresh):
    """Load the extension in the fresh kernel."""
    fresh.run_ok(LOAD)
    return fresh


@pytest.mark.versions
def test_load_ext_imports_few_modules(fresh):
    """``%load_ext`` imports few small modules of the package and no other package."""
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
def test_first_placeholder_comes_before_heavy_imports(loaded):
    """The first placeholder is shown before any HTTP, image or widget package is imported."""
    loaded.run_ok(WATCH)
    cell = loaded.run_ok("%%gpt_image\na hill that waits for nothing")
    first = set(loaded.value("imported[0]"))
    assert {name.partition(".")[0] for name in first} & HEAVY == set()
    assert {f"runapi_magic.{name}" for name in REST} & first == set()
    assert "a hill that waits for nothing" in cell.text
    loaded.wait_for_images(cell)


def test_help_before_the_first_use(loaded):
    """``%gpt_image?`` shows the options right after ``%load_ext``."""
    loaded.run_ok("%gpt_image?")
    (page,) = [one["payload"] for one in loaded.received if one.get("payload")]
    assert "--aspect-ratio RATIO" in page[0]["data"]["text/plain"]


@pytest.mark.versions
def test_front_ends_help_before_the_first_use(loaded):
    """Shift-Tab shows the documentation of a magic before its first use."""
    reply = loaded.client.inspect("%%gpt_edit", cursor_pos=8, reply=True, timeout=30)
    assert "Edit images by an instruction" in reply["content"]["data"]["text/plain"]


@pytest.mark.versions
def test_completion_does_not_import_the_magics(loaded):
    """Completion lists all magics without importing them."""
    reply = loaded.client.complete("%gpt_", cursor_pos=5, reply=True, timeout=30)
    assert set(reply["content"]["matches"]) >= {"%gpt_image", "%gpt_edit", "%gpt_panel"}
    loaded.run_ok("import sys")
    assert loaded.value("'runapi_magic.notebook.magics' in sys.modules") is False


def test_lsmagic(loaded):
    """``%lsmagic`` lists the magics right after ``%load_ext``."""
    listed = loaded.run_ok("%lsmagic").text
    assert all(f"%{name}" in listed for name in MAGICS["line"])
    assert all(f"%%{name}" in listed for name in MAGICS["cell"])


@pytest.mark.versions
def test_config_lists_the_settings_before_the_first_use(loaded):
    """``%config`` lists RunAPIMagics once and shows its settings."""
    assert loaded.run_ok("%config").text.split().count("RunAPIMagics") == 1
    assert "RunAPIMagics.preview_size=<Int>" in loaded.run_ok("%config RunAPIMagics").text


@pytest.mark.versions
def test_config_completes_the_settings_before_the_first_use(loaded):
    """Tab after ``%config RunAPIMagics.`` completes the names of settings."""
    text = "%config RunAPIMagics.prev"
    reply = loaded.client.complete(text, cursor_pos=len(text), reply=True, timeout=30)
    assert "RunAPIMagics.preview_size" in reply["content"]["matches"]


def test_config_sets_a_setting_before_the_first_use(loaded):
    """A setting from ``%config`` before the first use applies to later cells."""
    loaded.run_ok("%config RunAPIMagics.aspect_ratio = '3:4'")
    assert "'3:4'" in loaded.run_ok("%config RunAPIMagics.aspect_ratio").result
    cell = loaded.run_ok("%%gpt_image -o hill\na hill that stands upright")
    loaded.wait_for_images(cell)
    assert loaded.value("hill.image.size") == (768, 1024)


@pytest.mark.versions
def test_configuration_file(tmp_path):
    """Settings in ipython_config.py apply."""
    environment = clean_environment(tmp_path)
    _configure(tmp_path, "c.RunAPIMagics.model = 'flux-kontext-pro'")
    with start_kernel(tmp_path, environment, LOAD) as kernel:
        assert "flux-kontext-pro" in kernel.run_ok("%config RunAPIMagics.model").result


def test_wrong_value_in_the_configuration_file(tmp_path):
    """``%load_ext`` reports a setting of a wrong type in ipython_config.py."""
    environment = clean_environment(tmp_path)
    _configure(tmp_path, "c.RunAPIMagics.concurrency = 'many'")
    with start_kernel(tmp_path, environment) as kernel:
        cell = kernel.run(LOAD)
        assert "'concurrency' trait of a RunAPIMagics instance" in cell.text


def test_magics_in_the_configuration_file(tmp_path):
    """Magics in ipython_config.py run before the kernel's loop does; later cells still work."""
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
    """After a reload the settings exist once; after an unload settings and magics are gone."""
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


def test_registered_names_are_those_of_the_magics():
    """The extension registers exactly the names of the magics."""
    assert {kind: set(names) for kind, names in MAGICS.items()} == {
        kind: set(names) for kind, names in RunAPIMagics.magics.items()
    }


def test_cancel_during_the_first_imports(loaded):
    """A request that is cancelled during the first imports shows that in its cell."""
    code = "%gpt_image --detach -o hill a hill that is not to be\nhill.cancel()"
    cell = loaded.run_ok(code, live=False)
    loaded.wait(lambda: "Stopped before it started." in cell.text)
