"""Where a request comes from: as much as is worth keeping of it."""

import ipaddress
from dataclasses import dataclass

KEPT_BITS = {4: 24, 6: 48}
BROWSER_CHARACTERS = 100
NOWHERE = ipaddress.IPv4Address(0)
"""Of a request that has no address, such as one through a Unix socket: all of these are one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """``address`` is the client's own, behind whatever proxies are trusted; ``browser`` what it calls itself."""

    address: str
    browser: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", str(_parsed(self.address)))
        said = "".join(one for one in self.browser if one.isprintable())
        object.__setattr__(self, "browser", said[:BROWSER_CHARACTERS])

    @property
    def network(self) -> str:
        """The address cut short: whose provider and town, and not whose line."""
        address = ipaddress.ip_address(self.address)
        return str(ipaddress.ip_network((address, KEPT_BITS[address.version]), strict=False))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address in IPv6's clothes is one of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return NOWHERE
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or ipaddress.ip_address(str(address).partition("%")[0])
