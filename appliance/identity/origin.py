"""Where a request comes from: as much as its owner needs to know it again, and no more."""

import ipaddress
from dataclasses import dataclass

from appliance.door.address import NOWHERE, cut_short, parsed

BROWSERS = {
    "Edg": "Edge", "OPR/": "Opera", "SamsungBrowser": "Samsung Internet", "Firefox": "Firefox", "FxiOS": "Firefox",
    "CriOS": "Chrome", "Chrome": "Chrome", "Safari": "Safari", "curl": "curl",
}  # fmt: skip
SYSTEMS = {
    "iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "Windows": "Windows", "Mac OS": "macOS",
    "CrOS": "ChromeOS", "Linux": "Linux",
}  # fmt: skip
"""The first that is named counts: most name others after it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """``address`` is the client's own, behind whatever proxies are trusted.

    ``browser`` is given as it calls itself, and is then a browser and a system: "Firefox on Linux".
    """

    address: str
    browser: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", str(parsed(self.address) or NOWHERE))
        object.__setattr__(self, "browser", described(self.browser))

    @property
    def network(self) -> str:
        """The address cut short."""
        return cut_short(ipaddress.ip_address(self.address))


def described(agent: str) -> str:
    """Of what a browser calls itself. Nothing of a stranger's own is in it."""
    browser = next((name for word, name in BROWSERS.items() if word in agent), "?")
    system = next((name for word, name in SYSTEMS.items() if word in agent), "")
    return f"{browser} on {system}" if system else browser
