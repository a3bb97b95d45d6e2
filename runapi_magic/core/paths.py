"""The folder of the journal and the thumbnails, and other paths that the environment names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def data_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the journal: ``RUNAPI_MAGIC_HOME`` or the platform's user data."""
    environ = os.environ if environ is None else environ
    if folder := environ.get("RUNAPI_MAGIC_HOME"):
        return expand(folder).absolute()
    import platformdirs

    try:
        return Path(platformdirs.user_data_dir("runapi-magic", appauthor=False))
    except RuntimeError:  # no HOME, and a user whom the system does not know, as in a container
        return expand("~/.local/share/runapi-magic")


def expand(path: str) -> Path:
    """Return a path with ``~`` replaced; without a home folder, by one that does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # never a folder named "~" in the working directory
        return Path("/nonexistent") / path.lstrip("~/")


def is_usable(folder: Path) -> bool:
    """Whether a folder can be written to, or made where it is missing."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    except OSError:  # a folder that may not be entered
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def notebook_name(environ: Mapping[str, str] | None = None) -> str:
    """Return the notebook that this kernel was started for, as Jupyter names it; else empty."""
    return (os.environ if environ is None else environ).get("JPY_SESSION_NAME", "")
