"""Settings, and where the API key and the base URL come from.

This is the only module that reads configuration files and, beside home.py, the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from traitlets import Bool, CInt, Enum, Float, Int, TraitError, TraitType, Unicode
from traitlets.config import Configurable

from runapi_magic.core.catalog import DEFAULT_MODEL, RATIOS, RESOLUTIONS
from runapi_magic.core.paths import data_home as data_home  # noqa: PLC0414 (for those who read both)
from runapi_magic.core.paths import expand
from runapi_magic.errors import ConfigurationError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DEFAULT_BASE_URL = "https://runapi.ai"
_HOST = re.compile(r"[\w.:-]+")
_IN_COLAB = (
    "Open Secrets (the key on the left), add RUNAPI_API_KEY with notebook access, and run the cell"
    " again.\n%runapi simulator on      to try everything without a key and at no cost."
)
_SHOWN_OF_A_KEY = 4
_LONG_ENOUGH_TO_SHOW = 12


class Secret:
    """A key that no repr, log, traceback or pickle shows. ``reveal()`` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, to be put into a request and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return self.hint or "(not set)"

    __str__ = __repr__

    @property
    def hint(self) -> str:
        """An ellipsis and the last four characters at most; empty for no key."""
        if not self._value:
            return ""
        shown = self._value[-_SHOWN_OF_A_KEY:] if len(self._value) >= _LONG_ENOUGH_TO_SHOW else ""
        return f"…{shown}"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


class SecretTrait(TraitType[Secret, "Secret | str"]):
    """A trait that takes text and holds a Secret, so that ``%config`` shows no key."""

    default_value = Secret("")
    info_text = "an API key"

    def validate(self, _obj: Any, value: Any) -> Secret:
        """Wrap text; the message of the error names no value."""
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return Secret(value.strip())
        raise TraitError("api_key takes text")


class PlaceTrait(Unicode[str, str]):
    """A trait that takes a folder, or the URL of a store that can be used."""

    def validate(self, obj: Any, value: Any) -> str:
        """Refuse a URL for which something is not installed, before anything is paid."""
        from runapi_magic.media.object_store import check

        place = super().validate(obj, value)
        check(place)
        return place

    def set(self, obj: Any, value: Any) -> None:
        """Keep where the user was, too: a relative folder starts there."""
        super().set(obj, value)
        with contextlib.suppress(OSError):  # the working directory is gone
            obj.named_in = Path.cwd()


class Settings(Configurable):
    """What ``%config RunAPIMagics`` shows and sets.

    Attributes:
        named_in: The working directory in which ``image_dir`` was set; None for its default.
    """

    named_in: Path | None = None

    model = Unicode(DEFAULT_MODEL, help="Model for cells without -m.").tag(config=True)
    edit_model = Unicode(
        "", help="Model for edits without -m; empty: the same as model, where it edits."
    ).tag(config=True)
    aspect_ratio = Enum(
        ("", *RATIOS), "", help="Ratio for cells without -a; empty: the model's own choice."
    ).tag(config=True)
    output_resolution = Enum(
        ("", *RESOLUTIONS), "", help="Resolution for cells without -r; empty: the model's own."
    ).tag(config=True)
    image_dir = PlaceTrait(
        "gpt-images",
        help="Folder for pictures, relative to the working directory, or an fsspec URL of a store"
        " such as s3://bucket/pictures (extra: stores).",
    ).tag(config=True)
    preview_size = Int(768, min=64, max=4096, help="Longest side inline, in pixels.").tag(
        config=True
    )
    preview_quality = CInt(85, min=30, max=95, help="JPEG quality inline.").tag(config=True)
    timeout = Float(
        900.0, min=1.0, help="Seconds to wait for one task; time in which the kernel is busy"
        " with a long cell does not count.",
    ).tag(config=True)  # fmt: skip
    max_download_mb = Int(128, min=1, help="Largest picture to download, in megabytes.").tag(
        config=True
    )
    max_megapixels = Int(
        89, min=1, help="Largest picture to decode, in millions of pixels; Pillow's own limit."
    ).tag(config=True)
    concurrency = Int(
        8, min=1, max=256, help="Requests of a sweep or batch that are under way at a time."
    ).tag(config=True)
    ask_above_count = Int(
        10, min=1, help="New pictures in one request, beyond which --yes or a click is needed."
    ).tag(config=True)
    ask_above_usd = Float(
        1.0, min=0.0, help="USD of one request, beyond which --yes or a click is needed."
    ).tag(config=True)
    reuse = Bool(
        True, help="Serve a request that was made before from disk, at no cost; --new asks afresh."
    ).tag(config=True)
    provenance = Bool(
        True, help="Write into each picture's file how it was made: prompt, model, fields, line."
    ).tag(config=True)
    toolbar = Bool(True, help="Show buttons under pictures.").tag(config=True)
    api_key = SecretTrait(
        help="API key. Set it in ipython_config.py if anywhere; in a cell it would be saved."
    ).tag(config=True)
    base_url = Unicode("", help="RunAPI's address; empty: RUNAPI_BASE_URL or runapi.ai.").tag(
        config=True
    )

    def picture_place(self) -> str:
        """Return ``image_dir`` as it is meant now: a store's URL, or an absolute folder.

        Raises:
            ConfigurationError: It cannot be found; see ``stores.locate``.
        """
        from runapi_magic.media.object_store import locate

        return locate(self.image_dir, self.named_in)


@dataclass(frozen=True)
class Access:
    """Where requests go and with which key.

    Attributes:
        base_url: Scheme, host and port, without a path.
        key: The API key; empty where none was found.
        key_source: Where the key was found, in words; empty where it was not.
        base_url_source: Where the base URL was found, in words.
    """

    base_url: str
    key: Secret
    key_source: str
    base_url_source: str

    @property
    def account(self) -> str:
        """A name for address and key that neither can be told from: 16 hex digits."""
        return hashlib.sha256(f"{self.base_url}\n{self.key.reveal()}".encode()).hexdigest()[:16]

    def without_key(self, text: str) -> str:
        """Return a text with the key taken out, should somebody have written it there."""
        return text.replace(self.key.reveal(), "***") if self.key else text

    def require_key(self) -> Secret:
        """Return the key.

        Raises:
            MissingKeyError: There is none; it names the three ways out.
            ConfigurationError: It cannot be a key.
        """
        if not self.key:
            in_colab = "google.colab" in sys.modules
            raise MissingKeyError("There is no RunAPI key.", todo=_IN_COLAB if in_colab else None)
        if not is_key(self.key.reveal()):
            raise ConfigurationError(
                f"What {self.key_source} holds is no API key: it has blanks or other signs in it.",
                todo="Copy the key again from runapi.ai; %runapi login stores it.",
            )
        return self.key


@dataclass(frozen=True)
class _Found:
    key: str
    source: str
    base_url: str = ""


def notebook_name(environ: Mapping[str, str] | None = None) -> str:
    """Return the notebook that this kernel was started for, as Jupyter names it; else empty."""
    return (os.environ if environ is None else environ).get("JPY_SESSION_NAME", "")


def certificate_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that name trusted certificates and are set, with their values."""
    environ = os.environ if environ is None else environ
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    return {name: environ[name] for name in names if environ.get(name)}


def resolve_access(settings: Settings, environ: Mapping[str, str] | None = None) -> Access:
    """Find the key and the base URL.

    The key: the setting, ``RUNAPI_API_KEY``, Colab's secrets, the RunAPI CLI's file, Hermes
    Agent's ``.env``. The base URL: the setting, ``RUNAPI_BASE_URL``, the file that the key came
    from, ``https://runapi.ai``.

    Raises:
        ConfigurationError: The base URL is unusable, or there is no key but one that Colab did
            not give.
    """
    environ = os.environ if environ is None else environ
    troubles: list[ConfigurationError] = []
    found = next(_keys(settings, environ, troubles), _Found("", ""))
    if not found.key and troubles:
        raise troubles[0]
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
    """Return what is said of key and base URL without reading or asking anything."""
    environ = os.environ if environ is None else environ
    return (
        settings.api_key,
        settings.base_url,
        Secret(environ.get("RUNAPI_API_KEY", "").strip()),
        environ.get("RUNAPI_BASE_URL", ""),
    )


def asks_colab(settings: Settings) -> bool:
    """Whether Colab is asked for the key, which takes a while and blocks."""
    key, _, variable, _ = named_access(settings)
    return "google.colab" in sys.modules and not (key or variable)


def _keys(
    settings: Settings, environ: Mapping[str, str], troubles: list[ConfigurationError]
) -> Iterator[_Found]:
    sources: tuple[Callable[[], _Found | None], ...] = (
        lambda: _Found(settings.api_key.reveal(), "%config RunAPIMagics.api_key"),
        lambda: _Found(environ.get("RUNAPI_API_KEY", ""), "RUNAPI_API_KEY"),
        lambda: _from_colab(troubles),
        lambda: _from_cli_file(environ),
        lambda: _from_hermes(environ),
    )
    for read in sources:
        found = read()
        if found and found.key.strip():
            yield _Found(found.key.strip(), found.source, found.base_url)


def _from_colab(troubles: list[ConfigurationError]) -> _Found | None:
    if "google.colab" not in sys.modules:  # present in every Colab kernel from its start
        return None
    from google.colab import userdata

    try:
        key = userdata.get("RUNAPI_API_KEY")
    except Exception as error:  # noqa: BLE001 (its own types, known by name alone)
        name = type(error).__name__
        if name != "SecretNotFoundError":
            troubles.append(_colab_trouble(name))
        return None
    return _Found(key or "", "Colab secret RUNAPI_API_KEY")


def _colab_trouble(name: str) -> ConfigurationError:
    if name == "NotebookAccessError":
        return ConfigurationError(
            "Colab does not let this notebook read the secret RUNAPI_API_KEY.",
            todo="Open Secrets (the key on the left), turn on notebook access for RUNAPI_API_KEY,"
            " and run the cell again.",
        )
    if name == "TimeoutException":
        return ConfigurationError(
            "Colab did not answer in time when it was asked for the secret RUNAPI_API_KEY.",
            todo="Keep the notebook's page open, answer Colab's question if it shows one, and run"
            " the cell again.",
        )
    return ConfigurationError(
        f"Colab did not give the secret RUNAPI_API_KEY ({name}).",
        todo="Open Secrets (the key on the left) and check it, then run the cell again.",
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
    """Return the object in a file, empty where there is no file.

    Raises:
        ConfigurationError: The file is there and cannot be used.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return {}  # another user's home, which says nothing of a file in it
        raise ConfigurationError(
            f"The configuration file {path} cannot be read ({type(error).__name__}).",
            todo="Repair or remove it, or write it anew with %runapi login.",
        ) from None
    return data if isinstance(data, dict) else {}


def _from_hermes(environ: Mapping[str, str]) -> _Found | None:
    """Read Hermes Agent's key; its config.yaml may name another variable or another base URL."""
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


def normalize_base_url(url: str, source: str = "given") -> str:
    """Return scheme, host and port of a base URL; a path ``/v1`` or ``/api/v1`` is taken off.

    Args:
        url: The base URL. No message repeats it: somebody may have pasted a key there.
        source: Where it was found, for messages.

    Raises:
        ConfigurationError: No scheme, no host, another path, credentials in the URL, or plain
            http to another machine, which would show the key to the network.
    """
    example = "Write it like https://runapi.ai."
    name = f"The base URL ({source})"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{name} is no address.", todo=example) from None
    if "://" not in url:
        raise ConfigurationError(f"{name} has no scheme.", todo=example)
    hostname = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(hostname):
        raise ConfigurationError(f"{name} is no https address of a host.", todo=example)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(f"{name} holds more than an address.", todo=example)
    if parts.path.rstrip("/") not in {"", "/v1", "/api/v1", "/api"}:
        raise ConfigurationError(f"{name} has a path.", todo=example)
    if parts.scheme == "http" and not is_loopback_host(hostname):
        raise ConfigurationError(
            f"{name} is plain http: the key would travel in the clear.",
            todo="Use https; plain http is for this machine alone.",
        )
    host = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address is this machine by its name alone (no look-up)."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_key(text: str) -> bool:
    """Whether a text can be sent as a key: printable ASCII without blanks."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def save_key(key: str, environ: Mapping[str, str] | None = None) -> Path:
    """Write the key to the RunAPI CLI's file, readable by its owner alone; return the path.

    What else the file holds is kept. It is replaced in one step, never half written.

    Raises:
        ConfigurationError: The key is empty or holds white space, or the file cannot be written.
    """
    key = key.strip()
    if not is_key(key):
        raise ConfigurationError("That is not a key.", todo="Copy it again from runapi.ai.")
    path = cli_config_path(environ)
    try:
        config = _read_json_object(path)
    except ConfigurationError:
        config = {}  # unreadable: written anew
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
            temporary.unlink(missing_ok=True)  # it has the key
    except OSError as error:
        raise ConfigurationError(
            f"The key cannot be written to {path} ({error.strerror}).",
            todo="Make the folder writable, or set RUNAPI_API_KEY before you start Jupyter.",
        ) from None
    return path
