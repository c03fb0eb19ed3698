"""How the process ``serving`` asks a replica directly, by the port that gateways use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from serving.client import HEADER_SECRET

CONNECT_TIMEOUT_SECONDS = 0.5
ANSWER_TIMEOUT_SECONDS = 1.0


class Asking:
    """To be used as a context manager, in a running event loop."""

    def __init__(self, cluster_secret: str) -> None:
        self._headers = {HEADER_SECRET: cluster_secret}

    async def __aenter__(self) -> Asking:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def renew(self, replicas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they describe themselves now, without those that take no connection.

        One that is too busy to answer stays as it was.
        """
        renewed = await asyncio.gather(*map(self._renew, replicas))
        return [replica for replica in renewed if replica is not None]

    async def _renew(self, replica: dict[str, Any]) -> dict[str, Any] | None:
        try:
            async with self._session.get(f"{replica['endpoint']}/describe") as response:
                found = (await response.json())["replica"] if response.status == 200 else None
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
            return None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return replica
        if found is None or found["id"] != replica["id"]:
            return None
        return as_described(found, replica)


def as_described(found: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """One that is draining goes on draining, unless it says that it is leaving and takes requests yet."""
    return {**found, "draining": found["draining"] or (earlier["draining"] and not found["leaving"])}
