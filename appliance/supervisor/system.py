"""What the parts of the system are on one node: their commands, environments, and signs of readiness."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from appliance import systemd
from appliance.paths import short_folder
from appliance.postgres import Cluster
from appliance.settings import (
    MAIL_PASSWORD,
    MONGO_URI,
    STRIPE_API_KEY,
    STRIPE_WEBHOOK_PATH,
    STRIPE_WEBHOOK_SECRET,
    LibreChatHere,
    Settings,
)
from appliance.supervisor.instance import url_of
from appliance.supervisor.keeper import Keeper, Part

APPLIANCE = (sys.executable, "-m", "appliance")
ALONE = "127.0.0.1"
"""The address of a node that has no others: only there does Ray listen for this machine alone."""
# Ray's sockets are 66 characters below its folder, and a socket's path has at most 107.
RAY_FOLDER_MAX_BYTES = 40 - len("/node")
PROBE_SECONDS = 2.0
RAY_LOG_BYTES = 4 << 20
RAY_LOG_FILES = 2


class NotOursError(Exception):
    """A folder cannot be emptied; the message names it."""


@dataclass(frozen=True)
class RayNode:
    """This start's part of Ray, and its folder, which is emptied at each start. `head` is another node's, if any.

    Ray opens what it is given as its folder to everybody, hence one inside a private one.
    """

    host: str
    port: int
    client_port: int
    folder: Path
    head: str | None = None

    @property
    def sessions(self) -> Path:
        return self.folder / "node"

    @property
    def alone(self) -> bool:
        return self.host == ALONE and self.head is None

    @property
    def address(self) -> str:
        """Of the first node."""
        return self.head or f"{self.host}:{self.port}"

    @property
    def flags(self) -> tuple[str, ...]:
        if self.head is not None:
            return (f"--address={self.head}",)
        return (
            "--head",
            f"--port={self.port}",
            f"--ray-client-server-port={self.client_port}",
            "--include-dashboard=false",
        )


def plan_ray(settings: Settings, head: str | None = None) -> RayNode:
    """Choose ports and the folder for this start. ``head`` is `host:port` of the first node, on a further one."""
    return RayNode(
        host=settings.ray.node_address,
        port=settings.ray.port or free_port(),
        client_port=free_port(),
        folder=short_folder(settings.home / "ray", RAY_FOLDER_MAX_BYTES),
        head=head,
    )


def empty(folder: Path) -> None:
    """Make a folder that nobody else can enter, without what an earlier start left in it.

    Raises:
        NotOursError: it is another user's.
    """
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.geteuid()):
        raise NotOursError(f"{folder} is somebody else's: remove it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)


def base_environment(inherited: Mapping[str, str], settings: Settings, ray: RayNode) -> dict[str, str]:
    """What every part gets: where things are, no telemetry, and nobody's key or password but our own."""
    secret = (MAIL_PASSWORD, MONGO_URI, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET, *settings.partner_keys)
    not_for_parts = {"PYTHONDONTWRITEBYTECODE", *secret, *systemd.VARIABLES}
    kept = {name: value for name, value in inherited.items() if name not in not_for_parts}
    if ray.alone:
        # Ray takes 127.0.0.1 for "choose an address of the network", but where it cannot have several nodes.
        kept["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if settings.sandbox:
        kept["STRIPE_SANDBOX_PORT"] = str(settings.stripe_sandbox_port)
    if settings.librechat is not None:
        kept |= _where_the_chat_is(settings.librechat)
    return kept | {
        "APPLIANCE_HOME": str(settings.home),
        "HOST": settings.host,
        "PORT": str(settings.port),
        "SITE_PORT": str(settings.site_port),
        "DATABASE_URL": settings.sqlalchemy_url,
        "PROMETHEUS_MULTIPROC_DIR": str(settings.run / "metrics"),
        "PYTHONUNBUFFERED": "1",
        "RAY_ADDRESS": ray.address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(settings.secrets / "ray_token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(RAY_LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": str(RAY_LOG_FILES),
        # The gateway has let go of its answers before Ray is stopped: there is nothing to drain.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_DEDUP_LOGS": "0",
        # What hangs does not finish its answers: it would keep its GPU until its time to drain is over.
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
        # Ray would run the engine at the lowest priority but four, behind whatever else the machine does.
        "RAY_worker_niceness": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _where_the_chat_is(here: LibreChatHere) -> dict[str, str]:
    """For the parts that lead people there, and for itself."""
    ports = {
        "LIBRECHAT_PORT": here.port,
        "CHAT_PORT": here.tls_port,
        "SIGN_ON_PORT": here.sign_on_port,
        "MONGO_PORT": here.mongo_port,
    }
    named = here.archive or here.source
    return {"LIBRECHAT_SOURCE": str(named), **{name: str(port) for name, port in ports.items()}}


def without_billing(env: Mapping[str, str]) -> dict[str, str]:
    """What owns the GPUs has no business with the database, nor with the gateway's metrics."""
    return {name: value for name, value in env.items() if name not in ("DATABASE_URL", "PROMETHEUS_MULTIPROC_DIR")}


def database_part(settings: Settings, env: Mapping[str, str], cluster: Cluster) -> Part:
    async def is_ready() -> bool:
        probe = await asyncio.create_subprocess_exec(*cluster.readiness_command())
        return await probe.wait() == 0

    return Part(
        name="database",
        command=tuple(cluster.command()),
        env=env,
        log=settings.logs / "database.log",
        is_ready=is_ready,
        stop_signal=signal.SIGINT,
        stop_seconds=30,
        owner=cluster.owner,
    )


def ray_part(settings: Settings, env: Mapping[str, str], ray: RayNode) -> Part:
    log = settings.logs / "ray.log"

    async def is_ready() -> bool:
        # The raylet makes its socket after the head's services run.
        host, _, port = ray.address.rpartition(":")
        return any(ray.sessions.glob("session_*/sockets/raylet*")) and await accepts(host, int(port))

    command = (
        str(Path(sys.executable).with_name("ray")),
        "start",
        *ray.flags,
        "--block",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--no-monitor",
        f"--node-ip-address={ray.host}",
        "--dashboard-agent-listen-port=0",
        f"--num-cpus={os.cpu_count() or 1}",
        f"--object-store-memory={settings.ray.object_store_bytes}",
        f"--temp-dir={ray.sessions}",
        "--log-style=record",
        "--log-color=false",
    )
    return Part(name="ray", command=command, env=without_billing(env), log=log, is_ready=is_ready, stop_seconds=15)


def serving_part(settings: Settings, env: Mapping[str, str], needs: tuple[Keeper, ...]) -> Part:
    async def is_ready() -> bool:
        return settings.directory.exists()

    return Part(
        name="serving",
        command=(*APPLIANCE, "serving"),
        env=without_billing(env),
        log=settings.logs / "serving.log",
        is_ready=is_ready,
        needs=needs,
        stop_seconds=10,
    )


def gateway_part(
    settings: Settings, env: Mapping[str, str], number: int, listeners: Sequence[socket.socket]
) -> Part:
    fds = tuple(listener.fileno() for listener in listeners)
    return Part(
        name=f"gateway-{number}" if settings.gateway.processes > 1 else "gateway",
        command=(*APPLIANCE, "serve", *(f"--fd={fd}" for fd in fds)),
        env=env,
        log=settings.logs / f"gateway-{number}.log",
        is_ready=lambda: answers(url_of(listeners[0]) + "/livez"),
        stop_seconds=settings.gateway.shutdown_seconds + 10,
        pass_fds=fds,
    )


def site_part(settings: Settings, env: Mapping[str, str], listener: socket.socket) -> Part:
    return Part(
        name="site",
        command=(*APPLIANCE, "site", "--fd", str(listener.fileno())),
        env={**env, **_stripe(settings), **mongo_env(settings)},
        log=settings.logs / "site.log",
        is_ready=lambda: answers(url_of(listener) + "/livez"),
        pass_fds=(listener.fileno(),),
    )


def sandbox_part(settings: Settings, env: Mapping[str, str], listener: socket.socket, site: str) -> Part:
    """``site`` is where the site is, which it tells what happens."""
    to = f"{site}{STRIPE_WEBHOOK_PATH}"
    return Part(
        name="stripe-sandbox",
        command=(*APPLIANCE, "stripe-sandbox", "--fd", str(listener.fileno()), "--webhook-url", to),
        env=without_billing(env),
        log=settings.logs / "stripe-sandbox.log",
        is_ready=lambda: answers(url_of(listener) + "/sandbox"),
        pass_fds=(listener.fileno(),),
    )


def _stripe(settings: Settings) -> dict[str, str]:
    """The keys, for the parts that take money."""
    keys = {STRIPE_API_KEY: settings.stripe_key, STRIPE_WEBHOOK_SECRET: settings.stripe_webhook_secret}
    return {name: key for name, key in keys.items() if key is not None}


def mongo_env(settings: Settings) -> dict[str, str]:
    """LibreChat's database, for the parts that export and delete what it holds."""
    return {} if settings.mongo_uri is None else {MONGO_URI: settings.mongo_uri}


def worker_part(settings: Settings, env: Mapping[str, str]) -> Part:
    """It alone sends mail, and has the mail server's password."""
    password = {} if settings.mail_password is None else {MAIL_PASSWORD: settings.mail_password}

    async def is_ready() -> bool:
        return True

    return Part(
        name="worker",
        command=(*APPLIANCE, "worker"),
        env={**env, **password, **_stripe(settings), **mongo_env(settings)},
        log=settings.logs / "worker.log",
        is_ready=is_ready,
    )


async def answers(url: str) -> bool:
    """Whether a GET brings 200 within the probe's time."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def accepts(host: str, port: int) -> bool:
    """Whether somebody takes a connection within the probe's time."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
