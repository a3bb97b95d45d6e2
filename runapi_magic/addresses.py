"""Which addresses a service may make this machine fetch."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runapi_magic.errors import DownloadError, UnsafeURLError
from runapi_magic.settings import is_loopback_host

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_IPV4_BITS = 0xFFFFFFFF


async def check_url(url: str, *, service_is_public: bool) -> None:
    """Refuse an address that a service must not make this machine fetch.

    Only https, or plain http on this machine where the service itself is on this machine; no
    private, link-local or otherwise special address where the service is public.

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
    if service_is_public:
        await resolve_public(host, port or 443)


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
