"""What systemd gives a service and wants to hear from it. Without it, nothing is given and nobody is told.

The sockets are those of sd_listen_fds(3), the words those of sd_notify(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START."""
SOCKET_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
NOTIFY_SOCKET = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES = ("WATCHDOG_PID", "WATCHDOG_USEC")
VARIABLES = (*SOCKET_VARIABLES, NOTIFY_SOCKET, *WATCHDOG_VARIABLES)
"""For the process that systemd started, not for those that it starts in turn."""
POLL_SECONDS = 0.2
MICROSECONDS = 1_000_000


def passed_sockets(env: Mapping[str, str]) -> list[int]:
    """The descriptors of the listening sockets that were passed to this very process, in their unit's order."""
    if env.get("LISTEN_PID") != str(os.getpid()):
        return []
    return list(range(FIRST_SOCKET, FIRST_SOCKET + int(env.get("LISTEN_FDS") or 0)))


@dataclass(frozen=True)
class Manager:
    """Whom to tell how it is, and how often at least; None where nobody asks."""

    address: str | None
    watchdog_seconds: float | None

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Manager:
        own = str(os.getpid())
        wanted = env.get("WATCHDOG_USEC") if env.get("WATCHDOG_PID", own) == own else None
        return cls(env.get(NOTIFY_SOCKET), int(wanted) / MICROSECONDS if wanted else None)

    def tell(self, state: str) -> None:
        """One word, such as READY=1. Raises OSError if nobody takes it."""
        if self.address is None:
            return
        # A leading @ stands for the zero byte of an address that is in no file system.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.connect(address)
            out.sendall(state.encode())

    @asynccontextmanager
    async def informed(self, is_ready: Callable[[], Awaitable[bool]] | None = None) -> AsyncIterator[None]:
        """READY once ``is_ready``, by default now; a sign of life as long as this event loop turns; then STOPPING.

        Raises:
            OSError: nobody takes the word.
        """
        if self.address is None:
            yield
            return
        if is_ready is None:
            self.tell("READY=1")
        task = asyncio.create_task(self._go_on_telling(is_ready))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.tell("STOPPING=1")

    async def _go_on_telling(self, is_ready: Callable[[], Awaitable[bool]] | None) -> None:
        if is_ready is not None:
            while not await is_ready():
                await asyncio.sleep(POLL_SECONDS)
            self.tell("READY=1")
        while self.watchdog_seconds is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)
