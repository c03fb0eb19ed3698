"""Runs the process that serves the pages: uvicorn around the application, behind the door, without access log."""

from prometheus_client import CollectorRegistry

from appliance import logs
from appliance.door.headers import NO_PAGE
from appliance.door.protocol import Door
from appliance.door.server import serve
from appliance.settings import Settings
from appliance.till import provider_of
from appliance.web.app import site_app
from appliance.web.metrics import SiteMetrics
from billing.clock import system_clock

SHUTDOWN_SECONDS = 10


def run(settings: Settings, *, fd: int | None) -> None:
    """Until SIGTERM or SIGINT. The guard has given each page its headers. Raises SettingsError."""
    logs.configure()
    metrics, limits = SiteMetrics(CollectorRegistry()), settings.door
    door = Door(
        limits, (*NO_PAGE, *settings.site_transport), metrics.observe_refusal, metrics.connections_open.set
    )
    serve(
        site_app(settings, metrics, provider=provider_of(settings, system_clock)).app,
        door,
        (),
        fds=() if fd is None else (fd,),
        host=settings.host,
        port=settings.site_port,
        shutdown_seconds=SHUTDOWN_SECONDS,
    )
