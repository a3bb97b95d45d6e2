"""Check URLs from a service before this machine opens them (against SSRF)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import unicodedata
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from runapi_magic.core.access import is_loopback_host
from runapi_magic.errors import DownloadError, UnsafeURLError
from runapi_magic.http.proxies import proxy_for

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_IPV4_BITS = 0xFFFFFFFF
_INSIDE = (".local", ".localdomain", ".internal", ".home.arpa", ".lan")  # never on the internet


async def check_url(url: str, *, service_is_public: bool) -> None:
    """Raise an error if this machine must not open a URL that the service returned.

    Only https is allowed. A service on this machine may also use plain http on this machine. A
    public service must not use private, link-local or other special addresses. With a proxy, the
    proxy resolves the names, and this machine may not be able to. So only the name is checked.

    Args:
        url: The URL.
        service_is_public: Whether the service is on another machine.

    Raises:
        UnsafeURLError: The URL is not allowed.
        DownloadError: The host name cannot be resolved.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.password:
        raise UnsafeURLError("The image URL is not a plain https URL.")
    if parts.scheme == "http" and (service_is_public or not is_loopback_host(host)):
        raise UnsafeURLError(f"The image URL uses plain http ({host}).")
    if service_is_public and proxy_for(parts.scheme, host):
        check_name(host)
    elif service_is_public:
        await resolve_public(host, port or 443)


def check_name(host: str) -> None:
    """Raise an error if a host is not on the internet, judged by its name alone (without DNS).

    Raises:
        UnsafeURLError: The name is a private or special address in any spelling, or a local name.
    """
    name = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().rstrip(".")
    address = _read_address(name)
    if address is not None:
        is_inside = not is_public(address)
    else:
        is_inside = "." not in name or is_loopback_host(name) or name.endswith(_INSIDE)
    if is_inside:
        raise UnsafeURLError(f"The image URL is in a private network ({host}).")


def _read_address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address in a name, also in forms such as ``127.1`` and ``0x7f000001``."""
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError, ValueError):
        return None


async def resolve_public(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, after checking that all of them are public.

    Raises:
        UnsafeURLError: One of its addresses is not public.
        DownloadError: The host name cannot be resolved.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise DownloadError(f"The host name {host} cannot be resolved.")
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise UnsafeURLError(f"The image URL is in a private network ({host}).")
    return addresses


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an IP address is on the internet. This also checks an IPv4 address inside IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in _NAT64 or address in _IPV4_COMPATIBLE):
            inner = ipaddress.IPv4Address(int(address) & _IPV4_BITS)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
