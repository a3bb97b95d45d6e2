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
