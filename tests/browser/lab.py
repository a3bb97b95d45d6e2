"""Start JupyterLab and a browser, and use a notebook in it as a user does.

The same server also serves Notebook 7 and nbclassic, if they are installed.
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
    # JupyterLab sends no requests to the network and keeps invisible cells in the page.
    "@jupyterlab/apputils-extension:notification": (
        '{"fetchNews": "false", "checkForUpdates": false}'
    ),
    "@jupyterlab/notebook-extension:tracker": '{"windowingMode": "none"}',
}

LOAD = "%load_ext runapi_magic"
STUCK = "status=stuck,match="  # the start of a fault; a part of a prompt follows
XSS = '<img src=x onerror="window.hacked=1"><b>bold</b>'
# A cell that blocks the kernel until the file "released" exists beside the notebook.
BLOCK_KERNEL = """import pathlib, time
while not pathlib.Path("released").exists():
    time.sleep(0.05)"""
# When its page is loaded, JupyterLab first restores the documents that were open before. Then its
# file browser opens the document that the page's URL names.
_RESTORED = "() => window.jupyterapp.restored.then(() => true)"
_URL_OPENED = """() =>
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
# A placeholder changes every second, so a saved notebook soon has changes again. For that reason
# the page notes when a save is complete.
_WATCH_SAVE = """() => {
    const {context} = window.jupyterapp.shell.currentWidget;
    window.isSaved = new Promise(done => context.saveState.connect(
        (_, state) => state.startsWith('completed') && done(true)));
}"""
_SHUT_DOWN = "() => window.jupyterapp.serviceManager.sessions.shutdownAll().then(() => true)"


@contextmanager
def serve_lab(folder: Path, environment: dict[str, str]):
    """Run JupyterLab in a folder with this environment, and yield its URL."""
    settings = folder.parent / "lab-settings"
    for name, text in _LAB_SETTINGS.items():
        package, _, plugin = name.partition(":")
        path = settings / package / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # Kernels use files as sockets, because another process could take a free port before its use.
    # The path of a socket must be short.
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
        yield _wait_for_url(process, folder.parent / "lab.log")
    finally:
        _stop(process)
        log.close()
        runtime.cleanup()


def _stop(process, seconds: float = 15) -> None:
    """Stop JupyterLab after its kernels were shut down.

    jupyter_server 2.21 sometimes does not exit, because it waits for an idle thread of anyio.
    """
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_url(process, log: Path, seconds: float = 180) -> str:
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
    """Return the path of Chromium on this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def open_browser(path: str):
    """Run a headless browser and yield it."""
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
    """Choose the option of a menu that begins with a text."""
    option = menu.get_by_role("option", name=re.compile(f"^{re.escape(start)}"))
    menu.select_option(option.get_attribute("value"))


class Lab:
    """A notebook in JupyterLab, the only one that is open.

    Args:
        page: The browser's page. It is not loaded again if it shows this JupyterLab already.
        url: The URL of JupyterLab.
        name: The file name of the notebook.
    """

    cells = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell"  # CSS selectors
    editor = ".cm-content"
    output = ".jp-OutputArea-output"
    image = ".jp-RenderedImage img"

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
        """Call a JavaScript function in the page until it returns ``true``, for at most 60 s.

        The function may return a promise. It is not called again then, whatever its value.
        """
        self.page.wait_for_function(function, arg=argument, timeout=60_000)

    def _wait_ready(self) -> None:
        self.page.locator(self.cells).first.wait_for(timeout=60_000)
        self._call(_RESTORED)
        self._call(_URL_OPENED)
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)

    def save(self) -> None:
        """Save the notebook and wait until the save is complete."""
        self.page.evaluate(_WATCH_SAVE)
        self.page.keyboard.press("Control+s")
        self._call("() => window.isSaved")

    def reload(self) -> None:
        """Reload the page, as F5 does."""
        self.page.reload()
        self._wait_ready()

    def cell(self, number: int):
        """Return a cell by its number, counted from 0."""
        return self.page.locator(self.cells).nth(number)

    def run(self, number: int) -> None:
        """Start a cell and return at once."""
        self.cell(number).locator(self.editor).first.click()
        self.page.keyboard.press("Control+Enter")

    def run_all(self) -> None:
        """Run all cells from the menu."""
        self._choose("Run", "Run All Cells")

    def restart(self) -> None:
        """Restart the kernel from the menu and wait until it is idle."""
        self._choose("Kernel", "Restart Kernel…")
        self.page.locator(".jp-Dialog").get_by_text("Restart", exact=True).click()
        self.page.locator(".jp-Dialog").wait_for(state="detached")
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)

    def shut_down_from_menu(self) -> None:
        """Shut down the kernel from the menu and wait until the notebook has none."""
        self._choose("Kernel", "Shut Down Kernel")
        self.page.locator(".jp-Toolbar-kernelName", has_text="No Kernel").first.wait_for()

    def _choose(self, menu: str, item: str) -> None:
        self.page.locator(".lm-MenuBar-item", has_text=menu).first.click()
        self.page.locator(".lm-Menu-item", has_text=item).first.click()

    def hide_files(self) -> None:
        """Hide the file browser, so that the notebook has the full width."""
        self.page.keyboard.press("Control+b")
        self.page.locator("#jp-left-stack").wait_for(state="hidden")

    def choose_theme(self, name: str) -> None:
        """Choose a theme and wait until the page shows it."""
        self.page.evaluate(_CHOOSE_THEME, name)
        self._call(_THEME_SHOWS, name)

    def input_prompt(self, number: int) -> str:
        """Return the input prompt of a cell: [ ], [*] or [3]."""
        return self.cell(number).locator(".jp-InputPrompt").first.inner_text()

    def wait_until_done(self, number: int, seconds: float = 60) -> None:
        """Wait until a cell has returned and shows its number."""
        self.cell(number).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(
            timeout=seconds * 1000
        )

    def images(self, number: int):
        """Return the images in a cell's output that are saved with the notebook."""
        return self.cell(number).locator(self.image)

    def wait_for_images(self, number: int, count: int = 1, seconds: float = 60) -> None:
        """Wait until a cell shows at least this many images."""
        self.images(number).nth(count - 1).wait_for(timeout=seconds * 1000)

    def wait_for_text(self, number: int, text, within: str = "") -> None:
        """Wait until a visible output of a cell contains a text.

        Args:
            number: The number of the cell.
            text: The text, or a pattern.
            within: CSS selector of the part of the outputs to search; all outputs by default.
        """
        found = (
            self.cell(number)
            .locator(within or self.output)
            .get_by_text(text)
            .locator("visible=true")
        )
        found.first.wait_for(timeout=60_000)

    def source(self, number: int) -> str:
        """Return the first image of a cell as a data URL, for comparisons."""
        return self.images(number).first.get_attribute("src")

    def button(self, number: int, name: str):
        """Return a button in a cell's output by its label."""
        return self.cell(number).get_by_role("button", name=name, exact=True)

    def click(self, number: int, button: str) -> None:
        """Click a button in a cell's output."""
        self.button(number, button).first.click()

    def type(self, number: int, text: str) -> None:
        """Fill the text field under a cell's image when the field has the focus."""
        field = self.cell(number).locator(f"{self.output} input[type=text]").first
        expect(field).to_be_focused(timeout=60_000)
        field.fill(text)


class Notebook(Lab):
    """A notebook in Notebook 7, which shows JupyterLab's cells without its other panels."""

    def _open(self, url: str, name: str) -> None:
        self.page.goto(f"{url}/notebooks/{name}?token={TOKEN}")

    def _wait_ready(self) -> None:
        self.page.locator(self.cells).first.wait_for(timeout=60_000)
        self._call(_KERNEL_IDLE)

    def hide_files(self) -> None:
        """Do nothing, because the file browser is on another page."""


class Classic(Lab):
    """A notebook in nbclassic, the successor of Notebook 6, which has its own CSS classes."""

    cells = "#notebook-container .cell"
    editor = ".CodeMirror"
    output = ".output_area"
    image = ".output_jpeg img"

    def _open(self, url: str, name: str) -> None:
        self.page.goto(f"{url}/nbclassic/notebooks/{name}?token={TOKEN}")

    def _wait_ready(self) -> None:
        self._call(_CLASSIC_IDLE)

    def shut_down(self) -> None:
        """Shut down the kernel."""
        self._call(_CLASSIC_SHUT_DOWN)
