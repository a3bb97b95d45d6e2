"""Read the code blocks of the project's pages and run them as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from traitlets.config.loader import PyFileConfigLoader

from tests.conftest import ROOT, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import SimulatorServer

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RECIPES = "docs/recipes.md"  # its sections run one by one; other pages run as a whole
OUTPUT = "text"  # the language of blocks that show output
DRAWING = "mermaid"
CODE = {"python", "bash"}
FILES = {
    "ini",
    "yaml",
}  # such a block begins with a file name in a comment; a python block can, too
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ((?:~/)?[\w./-]+\.(?:py|yaml|env|ini)|~/[\w./-]+)\n")
_STUDENT = "ada"
_INSTALL = "pip install ."


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page.

    Attributes:
        page: The path of the page in the project.
        section: The heading of the second level above the block; empty before the first one.
        language: The language of the fence.
        code: The text of the block.
    """

    page: str
    section: str
    language: str
    code: str

    @property
    def file(self) -> str:
        """The name of the file whose content the block is; empty if it is no file."""
        match = _FILE.match(self.code)
        return match[1] if match else ""

    @property
    def is_make(self) -> bool:
        """Whether the block has only make commands, which other tests cover."""
        lines = self.code.strip().splitlines()
        return self.language == "bash" and all(line.startswith("make ") for line in lines)

    @property
    def is_for_reader(self) -> bool:
        """Whether a ``Reader`` runs the block. ``tests/packaging`` tests the installation."""
        is_install = self.language == "bash" and self.code.strip() == _INSTALL
        return self.language not in {OUTPUT, DRAWING} and not self.is_make and not is_install


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    name = page.relative_to(ROOT).as_posix()
    for part in re.split(r"^(?=## )", page.read_text("utf-8"), flags=re.MULTILINE):
        heading = re.match(r"## (.+)", part)
        for language, code in _FENCE.findall(part):
            yield Block(name, heading[1] if heading else "", language, code)


BLOCKS = [block for page in PAGES for block in blocks(page)]
# The pages that run as a whole: all pages with code except the recipes.
GUIDES = sorted({block.page for block in BLOCKS if block.is_for_reader} - {RECIPES})


@dataclass
class Run:
    """The run of a section or of a page.

    Attributes:
        folder: The working directory of the commands and of the kernel.
        server: The simulator that replaced the service.
        texts: The output of each block, in order.
    """

    folder: Path
    server: SimulatorServer
    texts: list[str] = field(default_factory=list)


class Reader:
    """Runs the blocks of a section or of a page, with a home folder of its own.

    A block that is a file is saved under its name. Commands and cells run unchanged, except that a
    server gets a free port. The kernel starts with the first cell.
    """

    def __init__(self, folder: Path, server: SimulatorServer, **variables: str) -> None:
        self.run = Run(folder / "work", server)
        self.run.folder.mkdir(exist_ok=True)
        shutil.copytree(ROOT / "notebooks", self.run.folder / "notebooks")
        home = str(folder / "home")
        self._environment = clean_environment(
            folder, PYTHONPATH=str(ROOT), RUNAPI_BASE_URL=server.url
        )
        self._environment |= {
            "IPYTHONDIR": f"{home}/.ipython",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **variables,
        }
        self._home = Path(home)
        self._port = _free_port()
        self._kernel = None
        self._stack = ExitStack()

    def read(self, section: list[Block]) -> Run:
        """Run the blocks of a section or of a page and return their run."""
        with self._stack:
            for block in filter(lambda block: block.is_for_reader, section):
                code = block.code.replace("8765", self._port)
                if block.file:
                    self.run.texts.append(self._write(block.file, code))
                elif block.language == "bash":
                    self.run.texts.append(self._command(code))
                else:
                    self.run.texts.append(self._cell(code))
        return self.run

    def _write(self, name: str, code: str) -> str:
        path = self._home / name[2:] if name.startswith("~/") else self.run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, "utf-8")
        if path.name == "jupyterhub_config.py":
            self._environment |= self._spawner_environment(path)
        return str(path)

    def _spawner_environment(self, path: Path) -> dict[str, str]:
        """Return the variables that JupyterHub sets for a server, from its configuration."""
        before = dict(os.environ)
        os.environ.update(self._environment)
        try:
            found = PyFileConfigLoader(str(path)).load_config().Spawner.environment
            spawner = type("Spawner", (), {"user": type("User", (), {"name": _STUDENT})})
            return {name: value(spawner) if callable(value) else value
                    for name, value in found.items()}  # fmt: skip
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _command(self, code: str) -> str:
        words = code.split()
        if words[:3] == ["python", "-m", "runapi_magic.simulator"]:
            self.run.server = self._stack.enter_context(serve_simulator(*words[3:]))
            return self.run.server.url
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code], cwd=self.run.folder, env=self._environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _cell(self, code: str) -> str:
        if self._kernel is None:
            started = start_kernel(self.run.folder, self._environment)
            self._kernel = self._stack.enter_context(started)
        return self._kernel.run_ok(code, live=False).text  # so that the cell waits for its images


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])
