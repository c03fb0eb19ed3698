"""An application on a socket, as long as a test needs it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from appliance.door.limits import Limits
from appliance.door.protocol import Door


@asynccontextmanager
async def served(app: object, listening: socket.socket, *, door: bool = False) -> AsyncIterator[None]:
    http = Door(Limits(), (), lambda _: None, lambda _: None).protocol if door else "httptools"
    config = uvicorn.Config(app, http=http, lifespan="on", log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await running
