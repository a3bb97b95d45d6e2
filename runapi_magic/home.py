"""The folder of this package's own files: the journal, thumbnails, what was learned.

Apart from settings.py, because ``%load_ext`` looks into it and into nothing else.
"""

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
        return Path(folder).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("runapi-magic", appauthor=False))
