"""Which addresses a service may make this machine fetch."""

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
    """Refuse an address that a service must not make this machine fetch.

    Only https, or plain http on this machine where the service itself is on this machine; no
    private, link-local or otherwise special address where the service is public. Behind a proxy
    it is the proxy that looks names up, and this machine may not be able to: there the name alone
    is checked.

    Args:
        url: The address.
        service_is_public: Whether the service is on another machine.

    Raises:
        UnsafeURLError: The address is refused.
        DownloadError: The host's name cannot be resolved.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.password:
        raise UnsafeURLError("The picture's address is no plain https address.")
    if parts.scheme == "http" and (service_is_public or not is_loopback_host(host)):
        raise UnsafeURLError(f"The picture's address is plain http ({host}).")
    if service_is_public and proxy_for(parts.scheme, host):
        check_name(host)
    elif service_is_public:
        await resolve_public(host, port or 443)


def check_name(host: str) -> None:
    """Refuse a host that is not on the internet by its name alone, without looking it up.

    Raises:
        UnsafeURLError: It is a private or special address in any spelling, or a local name.
    """
    name = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().rstrip(".")
    address = _read_address(name)
    if address is not None:
        is_inside = not is_public(address)
    else:
        is_inside = "." not in name or is_loopback_host(name) or name.endswith(_INSIDE)
    if is_inside:
        raise UnsafeURLError(f"The picture's address is in a private network ({host}).")


def _read_address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a name spells: ``127.1`` and ``0x7f000001`` are addresses, too."""
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError, ValueError):
        return None


async def resolve_public(host: str, port: int) -> str:
    """Return a numeric address of a host, all of whose addresses are public.

    Raises:
        UnsafeURLError: One of its addresses is not public.
        DownloadError: The host's name cannot be resolved.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise DownloadError(f"The host {host} is not known to this network.")
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise UnsafeURLError(f"The picture's address is in a private network ({host}).")
    return addresses[0]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet's, also where it wraps an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in _NAT64 or address in _IPV4_COMPATIBLE):
            inner = ipaddress.IPv4Address(int(address) & _IPV4_BITS)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
