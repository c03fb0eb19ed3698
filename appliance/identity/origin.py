"""Where a request comes from: as much as is worth keeping of it."""

import ipaddress
from dataclasses import dataclass

KEPT_BITS = {4: 24, 6: 48}
BROWSER_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """``address`` is the client's own, behind whatever proxies are trusted; ``browser`` what it calls itself."""

    address: str
    browser: str

    @property
    def network(self) -> str:
        """The address cut short: whose provider and town, and not whose line."""
        address = ipaddress.ip_address(self.address)
        return str(ipaddress.ip_network((address, KEPT_BITS[address.version]), strict=False))
