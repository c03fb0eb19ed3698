"""Large bodies are judged in a process of their own: the gateway's one thread has all streams to serve.

The process begins with the first large body, has nothing but that body in its memory, and ends with the gateway.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from appliance.errors import InvalidRequest, Unavailable
from appliance.gateway.bodies import parse
from appliance.gateway.bodies.parsed import Parsed
from serving.catalog.endpoints import ENDPOINTS, Endpoint

LARGE_BYTES = 256 << 10
"""What is smaller takes the thread some milliseconds at most (docs/decisions/0024)."""
PR_SET_PDEATHSIG = 1


class Aside:
    """To be closed."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def parse(self, endpoint: Endpoint, body: bytes, content_type: str) -> Parsed:
        """As ``bodies.parse`` does. Raises InvalidRequest, or Unavailable if the process died."""
        if len(body) < LARGE_BYTES:
            return parse(endpoint, body, content_type)
        pool = self._pool = self._pool or _pool()
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                pool, judge, endpoint.path, body, content_type
            )
        except BrokenProcessPool:
            self._pool = None
            raise Unavailable("The body could not be read at the moment.") from None
        if isinstance(found, Parsed):
            return found
        message, param = found
        raise InvalidRequest(message, param=param)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def judge(path: str, body: bytes, content_type: str) -> Parsed | tuple[str, str | None]:
    """In the other process: what was read, or why it cannot be and the field."""
    try:
        return parse(ENDPOINTS[path], body, content_type)
    except InvalidRequest as refused:
        return refused.message, refused.param


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=begin)


def begin() -> None:
    """It ends with the gateway, however that ends, keeps no core file, and lets the gateway go first."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
