"""Whose connection it is: the peer's, or whom a trusted proxy names. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAMED = "appliance.named"
"""In a request's scope: its client is whom a trusted proxy names."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NOWHERE = ipaddress.IPv4Address(0)
"""Of a request that has no address, such as one through a Unix socket: all of these are one."""
KEPT_BITS = {4: 24, 6: 48}


def parsed(text: str) -> Address | None:
    """An IPv4 address in IPv6's clothes is one of IPv4, and the zone of one that is local is left out.

    None for what is no address, as a Unix socket's peer.
    """
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def is_in(address: Address | None, networks: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def forwarded_for(headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> Address | None:
    """The last address of ``X-Forwarded-For`` that is no trusted proxy's: each proxy adds whom it saw at the end.

    None if it names nobody, or somebody who cannot be: then nobody is believed.
    """
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    named = [part for value in values for part in value.split(",")]
    for part in reversed(named):
        address = parsed(part)
        if address is None:
            return None
        if not is_in(address, trusted):
            return address
    return None


def cut_short(address: Address) -> str:
    """As much of it as is ever written down: the network of a provider and a town, and not whose line."""
    return str(ipaddress.ip_network((address, KEPT_BITS[address.version]), strict=False))


def counted_as(address: Address) -> str:
    """Whoever has one IPv6 address has 2**64: a network of that size is one."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
