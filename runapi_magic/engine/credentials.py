"""Find the API key and the base URL in settings, environment, Colab and configuration files."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.core.access import DEFAULT_BASE_URL, Access, Secret, is_key, normalize_base_url
from runapi_magic.core.paths import expand
from runapi_magic.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runapi_magic.engine.settings import Settings


@dataclass(frozen=True)
class _Found:
    key: str
    source: str
    base_url: str = ""


def resolve_access(settings: Settings, environ: Mapping[str, str] | None = None) -> Access:
    """Find the key and the base URL.

    The key is looked up in this order: the setting, ``RUNAPI_API_KEY``, Colab's secrets, the RunAPI
    CLI's file, Hermes Agent's ``.env``. The base URL: the setting, ``RUNAPI_BASE_URL``, the file
    that has the key, ``https://runapi.ai``.

    Raises:
        ConfigurationError: The base URL is unusable, the RunAPI CLI's file cannot be read, or there
            is no key because Colab refused it.
    """
    environ = os.environ if environ is None else environ
    errors: list[ConfigurationError] = []
    found = next(_keys(settings, environ, errors), _Found("", ""))
    if not found.key and errors:
        raise errors[0]
    candidates = (
        (settings.base_url, "%config RunAPIMagics.base_url"),
        (environ.get("RUNAPI_BASE_URL", ""), "RUNAPI_BASE_URL"),
        (found.base_url, found.source),
        (DEFAULT_BASE_URL, "default"),
    )
    base_url, source = next((url, source) for url, source in candidates if url.strip())
    return Access(normalize_base_url(base_url, source), Secret(found.key), found.source, source)


def named_access(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> tuple[Secret, str, Secret, str]:
    """Return the keys and base URLs of the settings and the environment: a quick lookup.

    No file is read, and Colab is not asked. If the result is the same as before, the result of
    ``resolve_access`` is the same, unless a file or a secret of Colab was changed.
    """
    environ = os.environ if environ is None else environ
    return (
        settings.api_key,
        settings.base_url,
        Secret(environ.get("RUNAPI_API_KEY", "").strip()),
        environ.get("RUNAPI_BASE_URL", ""),
    )


def asks_colab(settings: Settings) -> bool:
    """Whether the key must be requested from Colab, which blocks for seconds."""
    key, _, variable, _ = named_access(settings)
    return "google.colab" in sys.modules and not (key or variable)


def _keys(
    settings: Settings, environ: Mapping[str, str], errors: list[ConfigurationError]
) -> Iterator[_Found]:
    sources: tuple[Callable[[], _Found | None], ...] = (
        lambda: _Found(settings.api_key.reveal(), "%config RunAPIMagics.api_key"),
        lambda: _Found(environ.get("RUNAPI_API_KEY", ""), "RUNAPI_API_KEY"),
        lambda: _from_colab(errors),
        lambda: _from_cli_file(environ),
        lambda: _from_hermes(environ),
    )
    for read in sources:
        found = read()
        if found and found.key.strip():
            yield _Found(found.key.strip(), found.source, found.base_url)


def _from_colab(errors: list[ConfigurationError]) -> _Found | None:
    if "google.colab" not in sys.modules:  # every Colab kernel imports it at its start
        return None
    from google.colab import userdata

    try:
        key = userdata.get("RUNAPI_API_KEY")
    except Exception as error:  # noqa: BLE001 (Colab's exception types are known by name only)
        name = type(error).__name__
        if name != "SecretNotFoundError":
            errors.append(_colab_error(name))
        return None
    return _Found(key or "", "Colab secret RUNAPI_API_KEY")


def _colab_error(name: str) -> ConfigurationError:
    if name == "NotebookAccessError":
        return ConfigurationError(
            "Colab does not let this notebook read the secret RUNAPI_API_KEY.",
            todo="Open Secrets (the key symbol on the left), turn on notebook access for"
            " RUNAPI_API_KEY, and run the cell again.",
        )
    if name == "TimeoutException":
        return ConfigurationError(
            "Colab did not return the secret RUNAPI_API_KEY in time.",
            todo="Keep the notebook's page open, answer Colab's question if it shows one, and run"
            " the cell again.",
        )
    return ConfigurationError(
        f"Colab did not return the secret RUNAPI_API_KEY ({name}).",
        todo="Open Secrets (the key symbol on the left) and check it, then run the cell again.",
    )


def cli_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the RunAPI CLI's configuration file, whether it exists or not."""
    environ = os.environ if environ is None else environ
    if folder := environ.get("RUNAPI_CONFIG_DIR"):
        return expand(folder) / "config.json"
    config = environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config"
    return Path(config) / "runapi" / "config.json"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or expand("~"))


def _from_cli_file(environ: Mapping[str, str]) -> _Found | None:
    path = cli_config_path(environ)
    config = _read_json_object(path)
    key = config.get("api_key") or config.get("apiKey") or ""
    base_url = config.get("base_url") or config.get("baseUrl") or ""
    return _Found(str(key), f"{_short(path, environ)} (RunAPI CLI)", str(base_url))


def _read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one if there is no file.

    Raises:
        ConfigurationError: The file exists but cannot be used.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return {}  # another user's home: whether it has such a file is unknown
        raise ConfigurationError(
            f"The configuration file {path} cannot be read ({type(error).__name__}).",
            todo="Repair or delete it, or replace it with %runapi login.",
        ) from None
    return data if isinstance(data, dict) else {}


def _from_hermes(environ: Mapping[str, str]) -> _Found | None:
    """Read Hermes Agent's key; its config.yaml may set another variable name or base URL."""
    home = expand(environ.get("HERMES_HOME") or str(_home(environ) / ".hermes"))
    env_file = home / ".env"
    try:
        if not env_file.is_file():
            return None
    except OSError:  # a folder that may not be entered
        return None
    from dotenv import dotenv_values

    try:
        values = dotenv_values(env_file, interpolate=False)
    except (OSError, ValueError):
        return None
    provider = _hermes_provider(home / "config.yaml")
    name = str(provider.get("key_env") or "RUNAPI_API_KEY")
    key = values.get(name) or values.get("RUNAPI_API_KEY") or ""
    base_url = values.get("RUNAPI_BASE_URL") or str(provider.get("base_url") or "")
    return _Found(key, f"{_short(env_file, environ)} (Hermes Agent)", base_url)


def _hermes_provider(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    providers = config.get("custom_providers") if isinstance(config, dict) else None
    for provider in providers if isinstance(providers, list) else ():
        if isinstance(provider, dict) and provider.get("name") == "runapi":
            return provider
    return {}


def _short(path: Path, environ: Mapping[str, str]) -> str:
    with contextlib.suppress(ValueError):
        return f"~/{path.relative_to(_home(environ)).as_posix()}"
    return str(path)


def save_key(key: str, environ: Mapping[str, str] | None = None) -> Path:
    """Write the key to the RunAPI CLI's file, readable by its owner only; return the path.

    The other values in the file are kept. The file is replaced atomically.

    Raises:
        ConfigurationError: The key is empty or contains characters other than printable ASCII
            without spaces, or the file cannot be written.
    """
    key = key.strip()
    if not is_key(key):
        raise ConfigurationError("This is not an API key.", todo="Copy it again from runapi.ai.")
    path = cli_config_path(environ)
    try:
        config = _read_json_object(path)
    except ConfigurationError:
        config = {}  # unreadable, so it is replaced
    config.pop("apiKey", None)
    config |= {"api_key": key, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(config, file, indent=2)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # it contains the key
    except OSError as error:
        raise ConfigurationError(
            f"The key cannot be written to {path} ({error.strerror}).",
            todo="Make the folder writable, or set RUNAPI_API_KEY before you start Jupyter.",
        ) from None
    return path
