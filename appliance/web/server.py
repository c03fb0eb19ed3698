"""Runs the process that serves the pages: uvicorn around the application, behind the door, without access log."""

import socket

import uvicorn
from prometheus_client import CollectorRegistry

from appliance import logs
from appliance.door.protocol import Door
from appliance.settings import Settings
from appliance.web.app import site_app
from appliance.web.metrics import SiteMetrics

SHUTDOWN_SECONDS = 5


def run(settings: Settings, *, fd: int | None) -> None:
    """Until SIGTERM or SIGINT. Raises SettingsError."""
    logs.configure()
    metrics, limits = SiteMetrics(CollectorRegistry()), settings.door
    door = Door(limits, metrics.observe_refusal, metrics.connections_open.set)
    config = uvicorn.Config(
        site_app(settings, metrics).app,
        host=settings.host,
        port=settings.site_port,
        loop="uvloop",
        http=door.protocol,  # type: ignore[arg-type]  # called as a class is
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(None if fd is None else [socket.socket(fileno=fd)])
