"""uvicorn, behind the door: no access log, and nobody believed about who a client is but by the door."""

import os
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from appliance.door.headers import Headers
from appliance.door.protocol import Door
from appliance.systemd import Manager


def serve(
    app: Any, door: Door, headers: Headers, *, fds: Sequence[int], host: str, port: int, shutdown_seconds: int
) -> None:
    """On the inherited sockets ``fds``, or without any on ``host`` and ``port``, until SIGTERM or SIGINT.

    Each answer of ``app`` has ``headers`` besides its own. Those that are being written at the end have
    ``shutdown_seconds``. The service manager hears when connections are accepted.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=door.protocol,  # type: ignore[arg-type]  # called as a class is
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        headers=list(headers),
        proxy_headers=False,
        timeout_keep_alive=int(door.limits.idle_seconds),
        timeout_graceful_shutdown=shutdown_seconds,
    )
    _Server(config, Manager.of(os.environ)).run([socket.socket(fileno=fd) for fd in fds] or None)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, manager: Manager) -> None:
        super().__init__(config)
        self._manager = manager

    async def main_loop(self) -> None:
        """Runs once the application has started and the sockets are listened on, until a signal."""
        async with self._manager.informed():
            await super().main_loop()
