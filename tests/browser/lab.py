"""JupyterLab in a process of its own, and a browser that works in it as a person does.

The same server has Notebook 7 and nbclassic, where they are installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import nbformat
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
TOKEN = "browser-test"
_LAB_SETTINGS = {
    # Nothing asks the network, and cells out of sight stay in the page.
    "@jupyterlab/apputils-extension:notification": (
        '{"fetchNews": "false", "checkForUpdates": false}'
    ),
    "@jupyterlab/notebook-extension:tracker": '{"windowingMode": "none"}',
}

LOAD = "%load_ext runapi_magic"
STUCK = "status=stuck,match="  # a fault of the simulator's
XSS = '<img src=x onerror="window.hacked=1"><b>bold</b>'
# A cell that keeps the kernel busy until there is a file of this name beside the notebook.
HOLD = """import pathlib, time
while not pathlib.Path("released").exists():
    time.sleep(0.05)"""
# JupyterLab opens again what was open when its page was loaded, some time after the page is there;
# and after that its file browser opens what the page's address names.
_RESTORED = "() => window.jupyterapp.restored.then(() => true)"
_ADDRESS_OPENED = """() =>
    ![...window.jupyterapp.shell.widgets('left')].some(one => one.hasClass('jp-mod-restoring'))"""
_OPEN = """async name => {
    const {shell, commands} = window.jupyterapp;
    const others = [...shell.widgets('main')];
    await commands.execute('docmanager:open', {path: name});
    for (const one of others) one.dispose();
    return true;
}"""
_KERNEL_IDLE = """() => {
    const {session} = window.jupyterapp.shell.currentWidget.sessionContext;
    return session?.kernel?.connectionStatus === 'connected' && session.kernel.status === 'idle';
}"""
_CLASSIC_IDLE = """() => {
    const {notebook} = window.Jupyter ?? {};
    return notebook?.kernel?.info_reply.status === 'ok' && !notebook.kernel_busy;
}"""
_CLASSIC_SHUT_DOWN = """() => new Promise(done =>
    Jupyter.notebook.session.delete(() => done(true), () => done(true)))"""
_CHOOSE_THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
_THEME_SHOWS = "name => document.body.dataset.jpThemeName === name"
# A placeholder changes every second: a notebook that is saved is soon to be saved again.
_EXPECT_SAVED = """() => {
    const {context} = window.jupyterapp.shell.currentWidget;
    window.isSaved = new Promise(done => context.saveState.connect(
        (_, state) => state.startsWith('completed') && done(true)));
}"""
_SHUT_DOWN = "() => window.jupyterapp.serviceManager.sessions.shutdownAll().then(() => true)"


@contextmanager
def serve_lab(folder: Path, environment: dict[str, str]):
    """Run JupyterLab on a folder, in this environment, and yield its address."""
    settings = folder.parent / "lab-settings"
    for name, text in _LAB_SETTINGS.items():
        package, _, plugin = name.partition(":")
        path = settings / package / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # Files instead of ports, which others may take between their choice and their use. A socket's
    # path must be short.
    runtime = TemporaryDirectory()
    environment = environment | {"JUPYTER_RUNTIME_DIR": runtime.name}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
        f"--LabApp.user_settings_dir={settings}",
        f"--LabApp.workspaces_dir={folder.parent / 'lab-workspaces'}",
        "--KernelManager.transport=ipc",
        "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
        f"--JupyterNotebookApp.user_settings_dir={settings}",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]  # fmt: skip
    log = (folder.parent / "lab.log").open("w")
    process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, cwd=folder)
    try:
        yield _address(process, folder.parent / "lab.log")
    finally:
        _end(process)
        log.close()
        runtime.cleanup()


def _end(process, seconds: float = 15) -> None:
    """End a JupyterLab whose kernels were shut down.

    jupyter_server 2.21 sometimes stops all it does and then waits for ever for an idle thread of
    anyio's before it exits.
    """
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _address(process, log: Path, seconds: float = 180) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = re.search(r"(http://(?:127\.0\.0\.1|localhost):\d+)/lab", log.read_text())
        if found:
            url = found.group(1)
            try:
                urllib.request.urlopen(f"{url}/api?token={TOKEN}").close()
            except urllib.error.URLError:
                pass
            else:
                return url
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def find_browser() -> str | None:
    """Return the path of this machine's Chromium, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def open_browser(path: str):
    """Run a browser without a window and yield it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def make_notebook(*cells: str):
    """Return a notebook of code cells."""
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=made, metadata=metadata)


def write_notebook(path: Path, notebook) -> None:
    """Write a notebook without its outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def choose(menu, start: str) -> None:
    """Choose from a menu what begins in this way."""
    option = menu.get_by_role("option", name=re.compile(f"^{re.escape(start)}"))
    menu.select_option(option.get_attribute("value"))


class Lab:
    """A notebook that is open in JupyterLab, alone.

    Args:
        page: The browser's page. Where it shows this JupyterLab already it is not loaded again.
        url: JupyterLab's address.
        name: The notebook.
    """

    cells = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell"  # CSS selectors
    editor = ".cm-content"
    output = ".jp-OutputArea-output"
    picture = ".jp-RenderedImage img"

    def __init__(self, page, url: str, name: str) -> None:
        self.page = page
        self._open(url, name)
        self._wait_ready()

    def _open(self, url: str, name: str) -> None:
        if self.page.url.startswith(url):
            self._call(_OPEN, name)
        else:
            self.page.goto(f"{url}/lab/tree/{name}?token={TOKEN}&reset")

    def shut_down(self) -> None:
        """Shut down the kernel."""
        self._call(_SHUT_DOWN)

    def _call(self, function: str, argument: str | None = None) -> None:
        """Call a function of the page's until it returns ``true`` or a promise of it, at most 60 s.

        It is called again only where it returns ``false``: a promise is taken, whatever it brings.
        """
        self.page.wait_for_function(function, arg=argument, timeout=60_000)

    def _wait_ready(self) -> None:
        self.page.locator(self.cells).first.wait_for(timeout=60_000)
        self._call(_RESTORED)
        self._call(_ADDRESS_OPENED)
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)

    def save(self) -> None:
        """Save the notebook and wait until it is saved."""
        self.page.evaluate(_EXPECT_SAVED)
        self.page.keyboard.press("Control+s")
        self._call("() => window.isSaved")

    def reload(self) -> None:
        """Load the page again, as F5 does."""
        self.page.reload()
        self._wait_ready()

    def cell(self, number: int):
        """Return a cell, counted from 0."""
        return self.page.locator(self.cells).nth(number)

    def run(self, number: int) -> None:
        """Run a cell and do not wait for it."""
        self.cell(number).locator(self.editor).first.click()
        self.page.keyboard.press("Control+Enter")

    def run_all(self) -> None:
        """Run all cells from the menu, as a person does."""
        self._choose("Run", "Run All Cells")

    def restart(self) -> None:
        """Restart the kernel from the menu, and wait until the new one is idle."""
        self._choose("Kernel", "Restart Kernel…")
        self.page.locator(".jp-Dialog").get_by_text("Restart", exact=True).click()
        self.page.locator(".jp-Dialog").wait_for(state="detached")
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)

    def shut_down_from_menu(self) -> None:
        """Shut the kernel down from the menu, and wait until it has none."""
        self._choose("Kernel", "Shut Down Kernel")
        self.page.locator(".jp-Toolbar-kernelName", has_text="No Kernel").first.wait_for()

    def _choose(self, menu: str, item: str) -> None:
        self.page.locator(".lm-MenuBar-item", has_text=menu).first.click()
        self.page.locator(".lm-Menu-item", has_text=item).first.click()

    def hide_files(self) -> None:
        """Let the notebook take the file browser's room."""
        self.page.keyboard.press("Control+b")
        self.page.locator("#jp-left-stack").wait_for(state="hidden")

    def choose_theme(self, name: str) -> None:
        """Choose a theme, and wait until it is there."""
        self.page.evaluate(_CHOOSE_THEME, name)
        self._call(_THEME_SHOWS, name)

    def prompt(self, number: int) -> str:
        """Return a cell's input prompt: [ ], [*] or [3]."""
        return self.cell(number).locator(".jp-InputPrompt").first.inner_text()

    def wait_done(self, number: int, seconds: float = 60) -> None:
        """Wait until a cell has its number."""
        self.cell(number).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(
            timeout=seconds * 1000
        )

    def pictures(self, number: int):
        """Return the pictures in a cell's output that are plain output, as saved."""
        return self.cell(number).locator(self.picture)

    def wait_pictures(self, number: int, count: int = 1, seconds: float = 60) -> None:
        """Wait until a cell shows so many pictures."""
        self.pictures(number).nth(count - 1).wait_for(timeout=seconds * 1000)

    def wait_text(self, number: int, text, within: str = "") -> None:
        """Wait until a cell's outputs show this, for a person to see.

        Args:
            number: The cell.
            text: A part of what is said, or a pattern.
            within: CSS selector of the part of the outputs that says it, if it is known.
        """
        said = (
            self.cell(number)
            .locator(within or self.output)
            .get_by_text(text)
            .locator("visible=true")
        )
        said.first.wait_for(timeout=60_000)

    def source(self, number: int) -> str:
        """Return a cell's picture as its data address: what is shown, to be compared."""
        return self.pictures(number).first.get_attribute("src")

    def button(self, number: int, name: str):
        """Return a button in a cell's output, by its words."""
        return self.cell(number).get_by_role("button", name=name, exact=True)

    def click(self, number: int, button: str) -> None:
        """Click a button in a cell's output."""
        self.button(number, button).first.click()

    def type(self, number: int, text: str) -> None:
        """Write into the field under a cell's picture, once the focus is in it."""
        field = self.cell(number).locator(f"{self.output} input[type=text]").first
        expect(field).to_be_focused(timeout=60_000)
        field.fill(text)


class Notebook(Lab):
    """A notebook that is open in Notebook 7: JupyterLab's cells in a page without its frame."""

    def _open(self, url: str, name: str) -> None:
        self.page.goto(f"{url}/notebooks/{name}?token={TOKEN}")

    def _wait_ready(self) -> None:
        self.page.locator(self.cells).first.wait_for(timeout=60_000)
        self._call(_KERNEL_IDLE)

    def hide_files(self) -> None:
        """Do nothing: files are on another page."""


class Classic(Lab):
    """A notebook that is open in nbclassic: what Notebook 6 was, with classes of its own."""

    cells = "#notebook-container .cell"
    editor = ".CodeMirror"
    output = ".output_area"
    picture = ".output_jpeg img"

    def _open(self, url: str, name: str) -> None:
        self.page.goto(f"{url}/nbclassic/notebooks/{name}?token={TOKEN}")

    def _wait_ready(self) -> None:
        self._call(_CLASSIC_IDLE)

    def shut_down(self) -> None:
        """Shut down the kernel."""
        self._call(_CLASSIC_SHUT_DOWN)
