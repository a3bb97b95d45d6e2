"""Which proxy the environment names for an address."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runapi_magic.errors import ConfigurationError


def proxy_for(scheme: str, host: str) -> str | None:
    """Return the address of the proxy for a host, None where it is asked directly.

    ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` count, in small letters as
    well, as Python's own urllib reads them.

    Raises:
        ConfigurationError: What is named is not an HTTP proxy; its address may hold a password,
            so the error does not show it.
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
        raise _unusable("its address is not valid") from None
    if parts.scheme not in {"http", "https"}:
        raise _unusable(f"{parts.scheme}:// is not supported")
    if not parts.hostname:
        raise _unusable("its address has no host")
    return address


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The proxy that the environment names cannot be used: {why}.",
        todo="Set HTTPS_PROXY to an HTTP proxy, such as http://proxy.example.com:3128, or NO_PROXY"
        " to the hosts that need none; ALL_PROXY counts where HTTPS_PROXY is not set.",
    )
