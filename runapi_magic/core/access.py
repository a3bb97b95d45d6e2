"""The base URL and the API key that requests use: types and checks, without I/O."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from runapi_magic.errors import ConfigurationError, MissingKeyError

DEFAULT_BASE_URL = "https://runapi.ai"
_HOST = re.compile(r"[\w.:-]+")
_IN_COLAB = (
    "Open Secrets (the key symbol on the left), add RUNAPI_API_KEY with notebook access, and run"
    " the cell again.\n%runapi simulator on      to try everything without a key and at no cost."
)
_SHOWN_OF_A_KEY = 4
_LONG_ENOUGH_TO_SHOW = 12


class Secret:
    """An API key. Only ``reveal()`` returns it: a repr, a log, a traceback or a pickle does not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself. Put it into a request, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return self.hint or "(not set)"

    __str__ = __repr__

    @property
    def hint(self) -> str:
        """An ellipsis and at most the last four characters. Empty if there is no key."""
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
        raise TypeError("an API key cannot be pickled")


@dataclass(frozen=True)
class Access:
    """The service that requests go to, and the key for it.

    Attributes:
        base_url: Scheme, host and port, without a path.
        key: The API key. Empty if none was found.
        key_source: A description of where the key was found. Empty if none was found.
        base_url_source: A description of where the base URL was found.
    """

    base_url: str
    key: Secret
    key_source: str
    base_url_source: str

    @property
    def account(self) -> str:
        """A name for this base URL and key: 16 hex digits that reveal neither."""
        return hashlib.sha256(f"{self.base_url}\n{self.key.reveal()}".encode()).hexdigest()[:16]

    def without_key(self, text: str) -> str:
        """Return a text without the key, in case it contains the key."""
        return text.replace(self.key.reveal(), "***") if self.key else text

    def require_key(self) -> Secret:
        """Return the key.

        Raises:
            MissingKeyError: There is no key. The message says how to continue.
            ConfigurationError: The key is not valid.
        """
        if not self.key:
            in_colab = "google.colab" in sys.modules
            raise MissingKeyError("There is no RunAPI key.", todo=_IN_COLAB if in_colab else None)
        if not is_key(self.key.reveal()):
            raise ConfigurationError(
                f"{self.key_source} does not contain a valid API key (it has spaces or"
                " non-printable characters).",
                todo="Copy the key again from runapi.ai. %runapi login stores it.",
            )
        return self.key


def normalize_base_url(url: str, source: str = "given") -> str:
    """Return scheme, host and port of a base URL. A path is removed if it is one of RunAPI's.

    These paths are ``/v1``, ``/api`` and ``/api/v1``.

    Args:
        url: The base URL. Messages do not repeat it: you may have pasted a key there.
        source: Where the base URL was found, for messages.

    Raises:
        ConfigurationError: The URL has no scheme or no host. Or it has credentials, a query or
            another path. Or it is plain http to another machine, which would send the key
            unencrypted.
    """
    example = "Write it like https://runapi.ai."
    name = f"The base URL ({source})"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{name} is not a URL.", todo=example) from None
    if "://" not in url:
        raise ConfigurationError(f"{name} has no scheme.", todo=example)
    hostname = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(hostname):
        raise ConfigurationError(f"{name} is not an https URL with a host.", todo=example)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(f"{name} has more than a scheme, host and port.", todo=example)
    if parts.path.rstrip("/") not in {"", "/v1", "/api/v1", "/api"}:
        raise ConfigurationError(f"{name} has a path.", todo=example)
    if parts.scheme == "http" and not is_loopback_host(hostname):
        raise ConfigurationError(
            f"{name} is plain http, which would send the key unencrypted.",
            todo="Use https. Plain http is allowed for this machine only.",
        )
    host = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine, judged by its name alone (without DNS)."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_key(text: str) -> bool:
    """Whether a text can be sent as a key: printable ASCII without spaces."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
