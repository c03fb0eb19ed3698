"""Who may read what is the operator's alone: by the address of the client itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import Request

from appliance.door.address import NAMED, Network, is_in, parsed
from appliance.errors import NotFound

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def nearby(networks: Sequence[Network], *, itself: bool = False) -> Callable[[Request], None]:
    """A dependency that hides a path from everybody else.

    A request that came through a proxy is a stranger's, whatever address the proxy has, unless the proxy is
    trusted and names somebody of the networks. ``itself``: this machine is near, by whichever of its addresses
    it asks.
    """

    def check(request: Request) -> None:
        if not is_near(request, networks, itself=itself):
            raise NotFound("There is nothing at this path.")

    return check


def is_near(request: Request, networks: Sequence[Network], *, itself: bool) -> bool:
    if request.client is None:
        return False
    client = parsed(request.client.host)
    if request.scope.get(NAMED, False):
        return is_in(client, networks)
    if any(name in request.headers for name in FORWARDED):
        return False
    if is_in(client, networks):
        return True
    server = request.scope.get("server")
    return itself and client is not None and server is not None and client == parsed(server[0])
