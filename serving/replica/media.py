"""Fetching the images and recordings that a request names by address: only from the public internet.

The replica stands in the operator's network, so that an address is refused unless it is public; it is checked
where the connection is made, so that a name cannot mean one host when it is checked and another when it is
reached. Redirects are not followed; size and time are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

MOST_BYTES = 32 << 20
MOST_SECONDS = 15.0
MOST_AT_ONCE = 16
CHUNK_BYTES = 1 << 16


class MediaRefused(ValueError):
    """The address may not be fetched, or what is there cannot be used. The message is for the client."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's. An IPv4 address inside an IPv6 one counts as itself."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _nat64(ip)
        if embedded is not None:
            return is_public(str(embedded))
    return ip.is_global and not ip.is_multicast


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


class PublicResolver(AbstractResolver):
    """Names to addresses; those that are not ``allowed`` are as if they were not there."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError if there is no address, MediaRefused if there is none of the internet."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        usable = [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
            if self._allowed(str(address[0]))
        ]
        if not usable:
            raise MediaRefused("The media's address is not a public one.")
        return usable

    async def close(self) -> None:
        pass


class MediaFetcher:
    """To be used in one event loop. ``allowed`` is for tests, whose servers are on the loopback."""

    def __init__(self, allowed: Callable[[str], bool] = is_public) -> None:
        self._allowed = allowed
        self._gate = asyncio.Semaphore(MOST_AT_ONCE)

    async def get(self, url: str, most_bytes: int = MOST_BYTES) -> bytes:
        """What is at an http(s) address. Raises MediaRefused."""
        self._check(url)
        try:
            async with asyncio.timeout(MOST_SECONDS), self._gate:
                return await self._get(url, most_bytes)
        except TimeoutError:
            raise MediaRefused(f"The media did not come within {MOST_SECONDS:.0f} seconds.") from None
        except (aiohttp.ClientError, OSError, UnicodeError):
            raise MediaRefused("The media could not be fetched.") from None

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise MediaRefused("The media's address is malformed.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise MediaRefused("The media's address must begin with http:// or https://, or be a data URL.")
        if _is_literal(host) and not self._allows_literal(host):
            raise MediaRefused("The media's address is not a public one.")

    def _allows_literal(self, host: str) -> bool:
        """A literal address is never resolved; one in an old spelling (2130706433, 127.1) is refused."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return self._allowed(host)

    async def _get(self, url: str, most_bytes: int) -> bytes:
        connector = aiohttp.TCPConnector(resolver=PublicResolver(self._allowed), use_dns_cache=False)
        client = aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        async with (
            client as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise MediaRefused(f"The media's server answered with {response.status}.")
            data = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                data += chunk
                if len(data) > most_bytes:
                    raise MediaRefused(f"The media is larger than {most_bytes} bytes.")
            return bytes(data)
