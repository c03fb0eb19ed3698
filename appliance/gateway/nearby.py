"""Who may read what is the operator's alone: by the address of the client itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import Request

from appliance.errors import NotFound
from appliance.gateway.door.address import NAMED, Network, is_in, parsed

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def nearby(networks: Sequence[Network]) -> Callable[[Request], None]:
    """A dependency that hides a path from everybody else.

    A request that came through a proxy is a stranger's, whatever address the proxy has, unless the proxy is
    trusted and names somebody of the networks.
    """

    def check(request: Request) -> None:
        through_proxy = any(name in request.headers for name in FORWARDED)
        believed = not through_proxy or request.scope.get(NAMED, False)
        if request.client is None or not believed or not is_in(parsed(request.client.host), networks):
            raise NotFound("There is nothing at this path.")

    return check
