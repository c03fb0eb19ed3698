"""Asking the partner: one connection pool, its time-outs, and what each of its failures means for the request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from serving.catalog.partners import Partner
from serving.partner.breaker import Breaker

logger = logging.getLogger(__name__)

CLIENTS_FAULT = frozenset({400, 413, 422})
"""What a partner answers to a request that is wrong itself. All else is between it and the operator."""
ATTEMPTS = 2
"""A connection that was kept open may be closed just when it is used, which shows within ``STALE_SECONDS``."""
STALE_SECONDS = 1.0
MOST_STREAM_SECONDS = 3600.0
"""Of a stream that never ends and never pauses."""
DOWN = frozenset({401, 408, 429})
"""And all from 500. What else it answers may be of this request alone."""


class PartnerAway(Exception):
    """It cannot be used now, for a reason that is not the request's. ``why`` has no word of the partner's.

    ``is_down``: other requests will fare no better. Else a customer's own doing may have brought it about.
    """

    def __init__(self, why: str, *, is_down: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_down = is_down


class PartnerClient:
    """To be created in a running event loop, and closed. ``trouble`` is the last failure, "" after a success."""

    def __init__(self, partner: Partner, key: str) -> None:
        self._partner = partner
        self._breaker = Breaker()
        self.trouble = ""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={
                "authorization": f"Bearer {key}",
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "appliance",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # nothing was asked for compressed, and what small bodies become has no limit
            trust_env=False,
        )

    @property
    def is_paused(self) -> bool:
        return self._breaker.is_open

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def asking(self, path: str, body: bytes, *, stream: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's beginning: 200, or one of ``CLIENTS_FAULT``. Raises PartnerAway, inside the block too.

        Whatever goes wrong with the answer while it is read in the block is the partner's failure.
        """
        if not self._breaker.admits(time.monotonic()):
            raise PartnerAway(self.trouble)
        judged = False
        try:
            response = await self._post(path, body, stream=stream)
            self._breaker.answered()
            try:
                yield response
            finally:
                response.release()  # of use again if it was read to its end
            self._breaker.succeeded()
            self.trouble, judged = "", True
        except PartnerAway as away:
            self._failed(away.why, is_down=away.is_down)
            judged = away.is_down
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = "it takes too long" if isinstance(error, TimeoutError) else "its answer broke off"
            self._failed(why)
            judged = True
            raise PartnerAway(why) from None
        finally:
            if not judged:
                self._breaker.abandoned()

    async def _post(self, path: str, body: bytes, *, stream: bool) -> aiohttp.ClientResponse:
        partner = self._partner
        timeout = aiohttp.ClientTimeout(
            total=MOST_STREAM_SECONDS if stream else partner.total_seconds,
            sock_connect=partner.connect_seconds,
            sock_read=partner.idle_seconds if stream else None,
        )
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            try:
                async with asyncio.timeout(partner.first_seconds if stream else None):
                    response = await self._session.post(
                        partner.url + path, data=body, timeout=timeout, allow_redirects=False
                    )
            except (aiohttp.ServerTimeoutError, TimeoutError):
                raise PartnerAway("it does not answer in time") from None
            except (aiohttp.ClientError, OSError):
                if attempt + 1 == ATTEMPTS or time.monotonic() - began > STALE_SECONDS:
                    raise PartnerAway("it cannot be reached") from None
            else:
                if response.status == 200 or response.status in CLIENTS_FAULT:
                    return response
                response.close()
                is_down = response.status in DOWN or response.status >= 500
                raise PartnerAway(f"it answers {response.status}", is_down=is_down)
        raise AssertionError

    def _failed(self, why: str, *, is_down: bool = True) -> None:
        logger.warning("%s: %s", self._partner.name, why)
        self.trouble = why
        if is_down:
            self._breaker.failed(time.monotonic())
