"""What every answer tells a browser that came by it: take it for nothing but what it says, run and frame nothing.

Made once for a process; an answer that is no page has no use for anything that these forbid.
"""

from __future__ import annotations

from collections.abc import Sequence

Headers = Sequence[tuple[str, str]]

YEAR_SECONDS = 31_536_000
NO_PAGE: Headers = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)


def strict_transport(address: str, *, subdomains: bool) -> Headers:
    """That browsers come by TLS alone for a year; nothing where the address, an origin, has none.

    ``subdomains`` binds the hosts below it too, whoever's they are.
    """
    if not address.startswith("https://"):
        return ()
    return (("strict-transport-security", f"max-age={YEAR_SECONDS}{'; includeSubDomains' if subdomains else ''}"),)
