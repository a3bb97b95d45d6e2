"""Find the proxy for a URL in the environment variables."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runapi_magic.errors import ConfigurationError


def proxy_for(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy for a host; None for a direct connection.

    The variables are ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, also in lower
    case, as in Python's urllib.

    Raises:
        ConfigurationError: The value is not an HTTP proxy. The message does not show the value,
            because it may contain a password.
    """
    proxies = getproxies()
    found = (proxies.get(scheme) or proxies.get("all") or "").strip()
    if not found or proxy_bypass(host):
        return None
    address = found if "://" in found else f"http://{found}"
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise _unusable("its URL is not valid") from None
    if parts.scheme not in {"http", "https"}:
        raise _unusable(f"{parts.scheme}:// is not supported")
    if not parts.hostname:
        raise _unusable("its URL has no host")
    return address


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The proxy in the environment variables cannot be used: {why}.",
        todo="Set HTTPS_PROXY to an HTTP proxy, such as http://proxy.example.com:3128, or NO_PROXY"
        " to the hosts that need no proxy. ALL_PROXY is used if HTTPS_PROXY is not set.",
    )
