"""Runs one gateway process: uvicorn around the application, without access log."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import uvicorn

from appliance import logs
from appliance.gateway.app import Gateway
from appliance.settings import Settings

KEEP_ALIVE_SECONDS = 75
COLLECT_AFTER_OBJECTS = 50_000


def spare_the_collector() -> None:
    """What is loaded by now lives as long as the process, and what a request makes has no cycles.

    By default the garbage collector walks all of it again every few hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)


def run(settings: Settings, *, fd: int | None, host: str, port: int) -> None:
    """Until SIGTERM or SIGINT, then until the answers are written or `gateway.shutdown_seconds` are over."""
    logs.configure()
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    config = uvicorn.Config(
        Gateway(settings, Path(metrics) if metrics else None),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.gateway.shutdown_seconds),
    )
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    spare_the_collector()
    uvicorn.Server(config).run(sockets)
