"""Runs one gateway process: uvicorn around the application, behind the door, without access log."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from appliance import logs
from appliance.door.headers import NO_PAGE
from appliance.door.protocol import Door
from appliance.door.server import serve
from appliance.gateway.app import Gateway
from appliance.settings import Settings

FILES_BESIDE_CONNECTIONS = 512
"""The database's, the log's, the metrics'."""
COLLECT_AFTER_OBJECTS = 50_000
M_ARENA_MAX = -8


def spare_the_collector() -> None:
    """What is loaded by now lives as long as the process, and what a request makes has no cycles.

    By default the garbage collector walks all of it again every few hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)


def keep_one_arena() -> None:
    """What one thread frees, another uses. glibc has an arena for each, which keeps what was freed (mallopt(3)).

    A C library that has no such thing needs none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def allow_files(wanted: int) -> None:
    """A connection is a file, and so is each one to a replica: raises this process's limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def run(settings: Settings, *, fds: Sequence[int], host: str, port: int) -> None:
    """Until SIGTERM or SIGINT, then until the answers are written or `gateway.shutdown_seconds` are over."""
    keep_one_arena()
    logs.configure()
    shared_metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    gateway = Gateway(settings, Path(shared_metrics) if shared_metrics else None)
    limits = settings.door
    allow_files(2 * limits.connections + FILES_BESIDE_CONNECTIONS)
    headers = (*NO_PAGE, *settings.api_transport)
    door = Door(limits, headers, gateway.metrics.observe_refusal, gateway.metrics.connections_open.set)
    spare_the_collector()
    serve(
        gateway,
        door,
        headers,
        fds=fds,
        host=host,
        port=port,
        shutdown_seconds=int(settings.gateway.shutdown_seconds),
    )
