"""How much a connection may take before its request is known, and how many there may be."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one gateway process. ``head`` is the request line with all headers.

    Addresses of ``shared_by_many`` may have as many connections as there may be in all: a program asks from there
    for many people.

    Once the process is to end, a connection may wait ``last_request_seconds`` for a request, which is answered and
    is its last. Clients should let go of an unused connection before that (httpx does after 5 s).

    A connection from ``trusted_proxies`` counts for whom the proxy names, and only while it has a request.
    """

    head_bytes: int = 64 << 10
    head_fields: int = 128
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    stalled_seconds: float = 60.0
    last_request_seconds: float = 0.0
    connections: int = 4096
    connections_per_address: int = 1024
    trusted_proxies: tuple[Network, ...] = ()
    shared_by_many: tuple[Network, ...] = ()
