"""``/metrics``, for the operator's own networks alone."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from appliance.errors import NotFound
from appliance.metrics import render

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def metrics_router(registry: CollectorRegistry, shared: Path | None, networks: Sequence[Network]) -> APIRouter:
    """A request that came through a proxy is a stranger's, whatever address the proxy has."""
    router = APIRouter()

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        if not _is_near(request, networks):
            raise NotFound("There is nothing at this path.")
        return Response(render(registry, shared), media_type=CONTENT_TYPE_LATEST)

    return router


def _is_near(request: Request, networks: Sequence[Network]) -> bool:
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
