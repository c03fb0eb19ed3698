"""Large bodies are judged in a process of their own: the gateway's one thread has all streams to serve.

The process begins with the first large body, has nothing but that body in its memory, and ends with the gateway.
One body at a time is judged; what takes too long is refused, and its process ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import resource
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from appliance.errors import InvalidRequest, Unavailable
from appliance.gateway.bodies import parse
from appliance.gateway.bodies.parsed import Parsed
from serving.catalog.endpoints import ENDPOINTS, Endpoint

LARGE_BYTES = 256 << 10
"""What is smaller takes the thread some milliseconds at most (docs/decisions/0024)."""
SECONDS_FOR_A_BODY = 20.0
"""The slowest that is known takes 2 s; the process's own start and a busy machine are in it."""
MOST_WAITING = 32
PR_SET_PDEATHSIG = 1


class Aside:
    """To be closed."""

    def __init__(self, seconds: float = SECONDS_FOR_A_BODY, most_waiting: int = MOST_WAITING) -> None:
        """``seconds`` for each body; more than ``most_waiting`` at once are refused."""
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._pool: ProcessPoolExecutor | None = None

    async def parse(self, endpoint: Endpoint, body: bytes, content_type: str) -> Parsed:
        """As ``bodies.parse`` does. Raises InvalidRequest, or Unavailable: it is not the body's fault."""
        if len(body) < LARGE_BYTES:
            return parse(endpoint, body, content_type)
        if self._waiting >= self._most_waiting:
            raise Unavailable("Too many large requests are being read at the moment.")
        self._waiting += 1
        try:
            async with self._turn:
                found = await self._judged(endpoint, body, content_type)
        finally:
            self._waiting -= 1
        if isinstance(found, Parsed):
            return found
        message, param = found
        raise InvalidRequest(message, param=param)

    async def _judged(self, endpoint: Endpoint, body: bytes, content_type: str) -> Parsed | tuple[str, str | None]:
        pool = self._pool = self._pool or _pool()
        began = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                pool, judge, endpoint.path, body, content_type, self._seconds
            )
        except BrokenProcessPool:
            self._pool = None
            if time.monotonic() - began < self._seconds:
                raise Unavailable("The body could not be read at the moment.") from None
            raise InvalidRequest("The body takes too long to read: send less at once.") from None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def judge(path: str, body: bytes, content_type: str, seconds: float) -> Parsed | tuple[str, str | None]:
    """In the other process, which ends if it takes longer: what was read, or why it cannot be and the field."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return parse(ENDPOINTS[path], body, content_type)
    except InvalidRequest as refused:
        return refused.message, refused.param
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin, (os.getpid(),))


def begin(gateway: int) -> None:
    """It ends with the gateway, however and whenever that ends, and keeps no core file."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != gateway:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
