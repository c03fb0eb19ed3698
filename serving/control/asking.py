"""How the process ``serving`` asks a replica directly, by the port that gateways use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec

from serving.client.replicas import HEADER_SECRET
from serving.replica.description import Description, Told

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

    async def renew(self, replicas: Sequence[Description]) -> list[Description]:
        """As they describe themselves now, without those that take no connection.

        One that is too busy to answer stays as it was.
        """
        renewed = await asyncio.gather(*map(self._renew, replicas))
        return [replica for replica in renewed if replica is not None]

    async def _renew(self, replica: Description) -> Description | None:
        try:
            async with self._session.get(f"{replica.endpoint}/describe") as response:
                if response.status != 200:
                    return None
                found = msgspec.json.decode(await response.read(), type=Told).replica
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
            return None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return replica
        return as_described(found, replica) if found.id == replica.id else None


def as_described(found: Description, earlier: Description) -> Description:
    """One that is draining goes on draining, unless it says that it is leaving and takes requests yet."""
    return found.as_seen(draining=found.draining or (earlier.draining and not found.leaving))
