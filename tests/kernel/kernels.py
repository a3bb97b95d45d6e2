"""Real kernels, with a front end that keeps the outputs of its cells as a notebook does."""

from __future__ import annotations

import os
import time
from ast import literal_eval
from contextlib import contextmanager
from queue import Empty
from tempfile import TemporaryDirectory

from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from traitlets.config import Config

IMAGE_TYPES = ("image/jpeg", "image/png")
TIMEOUT = 120  # seconds, for a condition to become true
NOT_SENT = "Nothing was sent, nothing was charged."  # in the message of a rejected request
# A cell that defines newest(): the newest widget of a type whose label begins with a text.
FIND_WIDGETS = """
from ipywidgets import Button, Text
from ipywidgets.widgets.widget import _instances

def newest(kind, label=""):
    made = [w for w in _instances.values() if type(w) is kind]
    return [w for w in made if (w.description or "").startswith(label)][-1]
"""


class Cell:
    """One execution of a cell, with its outputs and its reply."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.outputs: list[dict] = []
        self.reply: dict | None = None
        self.is_idle = False

    @property
    def is_done(self) -> bool:
        """Whether the cell has returned."""
        return self.reply is not None and self.is_idle

    @property
    def images(self) -> list[dict]:
        """The outputs that show an image at present."""
        return [output for output in self.outputs if is_image(output)]

    @property
    def result(self) -> str:
        """The value of the cell's last expression, as text."""
        (found,) = [o for o in self.outputs if o["output_type"] == "execute_result"]
        return found["data"]["text/plain"]

    def stream(self, name: str) -> str:
        """Return what the cell printed on ``stdout`` or ``stderr``."""
        return "".join(o["text"] for o in self.outputs if o.get("name") == name)

    @property
    def last_stream(self) -> str | None:
        """The name of the stream, if the last output is one."""
        return self.outputs[-1].get("name") if self.outputs else None

    @property
    def text(self) -> str:
        """The cell's outputs as plain text."""
        return "\n".join(plain_text(output) for output in self.outputs)


def is_image(output: dict) -> bool:
    """Return whether an output shows an image."""
    return any(kind in output.get("data", {}) for kind in IMAGE_TYPES)


def error_message(cell: Cell) -> str:
    """Return a cell's text after checking that it has no traceback."""
    assert "Traceback" not in cell.text
    return cell.text


def plain_text(output: dict) -> str:
    """Return the text of an output."""
    if "traceback" in output:
        return "\n".join(output["traceback"])
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


class Kernel:
    """A front end that runs cells, answers questions and updates earlier outputs."""

    def __init__(self, manager, client, log) -> None:
        self.manager = manager
        self.client = client
        self._log = log
        self._cells: dict[str, Cell] = {}
        self._displays: dict[str, list[dict]] = {}
        self.answers: list[str] = []
        self.questions: list[dict] = []
        self.received: list[dict] = []

    @property
    def log(self) -> str:
        """What the kernel's process wrote to its own stdout and stderr."""
        return self._log.read_text()

    def start(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Send a cell and return at once.

        Args:
            code: The cell.
            live: Whether a user can answer questions.
            cell_id: The cell's id, as JupyterLab and VS Code send it; None for a front end that
                sends none.
        """
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": live, "stop_on_error": False,
        }  # fmt: skip
        metadata = None if cell_id is None else {"cellId": cell_id}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        cell = Cell(message["header"]["msg_id"])
        self._cells[cell.message_id] = cell
        return cell

    def run(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Send a cell and wait until it has returned."""
        cell = self.start(code, live=live, cell_id=cell_id)
        self.wait(lambda: cell.is_done)
        return cell

    def run_ok(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Run a cell and check that it does not fail."""
        cell = self.run(code, live=live, cell_id=cell_id)
        assert cell.reply["status"] == "ok", cell.text
        return cell

    def value(self, expression: str) -> object:
        """Return the value of an expression in the kernel: a number, a text, a list or the like."""
        # The value travels as text: IPython shortens a long list, but not a long text.
        return literal_eval(literal_eval(self.run_ok(f"repr({expression})").result))

    def wait_for_images(self, cell: Cell, count: int = 1) -> list[dict]:
        """Wait until a cell shows at least this many images, and return them."""
        self.wait(lambda: len(cell.images) >= count)
        return cell.images

    def wait(self, condition, seconds: float = TIMEOUT) -> None:
        """Read messages until a condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self._state()
            self._read()

    def _state(self) -> str:
        shown = "\n---\n".join(cell.text for cell in self._cells.values())
        return f"timeout; the cells show:\n{shown}\nthe kernel's log:\n{self.log}"

    def _read(self) -> None:
        for channel in (self.client.shell_channel, self.client.stdin_channel):
            while channel.msg_ready():
                self._handle(channel.get_msg(timeout=1))
        try:
            self._handle(self.client.get_iopub_msg(timeout=0.05))
        except Empty:
            return

    def _handle(self, message: dict) -> None:
        kind, content = message["msg_type"], message["content"]
        self.received.append(content)
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if kind == "update_display_data":
            for output in self._displays.get(content["transient"]["display_id"], []):
                output.update(data=content["data"], metadata=content["metadata"])
        elif kind == "input_request":
            self.questions.append(content)
            self.client.input(self.answers.pop(0))
        elif cell is None:
            return
        elif kind == "execute_reply":
            cell.reply = content
        elif kind == "status":
            cell.is_idle = cell.is_idle or content["execution_state"] == "idle"
        elif kind == "stream" and cell.last_stream == content["name"]:
            cell.outputs[-1]["text"] += content["text"]  # as front ends do
        elif kind in {"display_data", "execute_result", "stream", "error"}:
            output = {"output_type": kind, **content}
            cell.outputs.append(output)
            name = content.get("transient", {}).get("display_id")
            self._displays.setdefault(name, []).append(output)

    def interrupt(self) -> None:
        """Interrupt the running cell, as the stop button does."""
        self.manager.interrupt_kernel()


def _socket_settings(folder: str) -> dict[str, str]:
    """Return the settings of a kernel manager that uses files in a folder as its sockets.

    Another process could take a free port before the kernel binds it.
    """
    return {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}


def manage_kernel(sockets: str) -> KernelManager:
    """Return a kernel manager that uses files in a folder as its sockets.

    The folder's path must be short, because the path of a socket is limited.
    """
    return KernelManager(kernel_name="python3", **_socket_settings(sockets))


def execute(
    notebook,
    folder,
    environment: dict[str, str] | None = None,
    *,
    seconds: int = 120,
    **options,
):
    """Run the cells of a notebook with nbclient, as nbconvert does, and return the notebook.

    Args:
        notebook: The notebook, which gets its outputs.
        folder: The kernel's working directory.
        environment: The kernel's environment; None for the one of this process.
        seconds: The timeout of a cell.
        options: Other options of ``NotebookClient``.
    """
    with TemporaryDirectory() as sockets:
        client = NotebookClient(
            notebook,
            timeout=seconds,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            config=Config(KernelManager=_socket_settings(sockets)),
            **options,
        )
        client.execute(env=os.environ if environment is None else environment)
    return notebook


@contextmanager
def start_kernel(folder, environment: dict[str, str], *first: str):
    """Start a kernel in a folder, run its first cells, and yield it."""
    log = folder / "kernel.log"
    with log.open("w") as file, TemporaryDirectory() as sockets:
        manager = manage_kernel(sockets)
        manager.start_kernel(cwd=str(folder), env=environment, stdout=file, stderr=file)
        client = manager.blocking_client()
        client.start_channels()
        try:
            try:
                client.wait_for_ready(timeout=TIMEOUT)
            except RuntimeError as error:
                error.add_note(log.read_text())
                raise
            kernel = Kernel(manager, client, log)
            for code in first:
                kernel.run_ok(code)
            yield kernel
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
            manager.context.term()
            client.context.term()
