"""One part alone, as a service of systemd: `appliance run`.

It becomes the very command, with the very environment, that `up` starts the part with. What `up` does besides is
systemd's: to start it again, to stop it with all that it started, to keep its log and its listening socket.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from appliance import systemd
from appliance.settings import Settings, SettingsError
from appliance.supervisor.join import joined
from appliance.supervisor.keeper import Part
from appliance.supervisor.services import Service
from appliance.supervisor.system import (
    RayNode,
    base_environment,
    empty,
    gateway_part,
    plan_ray,
    ray_part,
    serving_part,
    site_part,
    worker_part,
)
from appliance.till import require_right_start
from billing.errors import DatabaseUnavailable
from serving.catalog.release import note_python

LISTENING = (Service.GATEWAY, Service.SITE)
WITH_DATABASE = (Service.GATEWAY, Service.SITE, Service.WORKER)
SELLING = (Service.SITE, Service.WORKER)
TOLD_BY_THE_PART = (systemd.NOTIFY_SOCKET, *systemd.WATCHDOG_VARIABLES)
READY_POLL_SECONDS = 0.2


def run(service: Service, settings: Settings, inherited: Mapping[str, str]) -> NoReturn:
    """Become the part.

    Raises:
        SettingsError: this node has no such part, or a setting does not go with services.
        Conflict: it would sell with a key that does not go with what the database has. A database that is away is
            asked at the next start.
        NotOursError: Ray's folder is another user's.
    """
    if service in WITH_DATABASE and settings.database_url is None:
        raise SettingsError("DATABASE_URL: services need a PostgreSQL of yours: the embedded one is `up`'s")
    settings, ray = _node_of(settings)
    if service in SELLING:
        with suppress(DatabaseUnavailable):
            asyncio.run(require_right_start(settings))
    listeners = _listeners(service, inherited)
    part = part_of(service, settings, inherited, ray, listeners)
    told = {name: inherited[name] for name in TOLD_BY_THE_PART if name in inherited}
    if service is Service.RAY:
        told = {}  # it knows nothing of systemd
        _forget_the_ray_before(settings, ray)
        _tell_when_ready(part, systemd.Manager.of(inherited))
    for descriptor in part.pass_fds:
        os.set_inheritable(descriptor, True)
    os.execve(part.command[0], part.command, {**part.env, **told})  # noqa: S606 -- no shell, on purpose


def part_of(
    service: Service,
    settings: Settings,
    inherited: Mapping[str, str],
    ray: RayNode,
    listeners: Sequence[socket.socket],
) -> Part:
    """What `up` would run. ``listeners`` are the sockets of a part that has any. Raises SettingsError."""
    env = base_environment(inherited, settings, ray)
    match service:
        case Service.RAY:
            return ray_part(settings, env, ray)
        case Service.WORKER:
            return worker_part(settings, env)
        case Service.GATEWAY if listeners:
            return gateway_part(settings, env, 0, listeners)
        case _ if not settings.is_first_node:
            raise SettingsError(f"{service}: only the first node has one")
        case Service.SERVING:
            return serving_part(settings, env, ())
        case Service.SITE if listeners:
            return site_part(settings, env, listeners[0])
        case _:
            raise SettingsError(f"{service}: no listening socket was passed: start it by its socket unit")


def _node_of(settings: Settings) -> tuple[Settings, RayNode]:
    """As a further node, once it was prepared as one."""
    if not settings.is_first_node:
        head = settings.joined_to.read_text().strip()
        settings = joined(settings, head)
        return settings, plan_ray(settings, head)
    if not settings.ray.port:
        raise SettingsError("appliance.yaml: ray.port: services find Ray by it: give it one, such as 6379")
    return settings, plan_ray(settings)


def _listeners(service: Service, inherited: Mapping[str, str]) -> list[socket.socket]:
    passed = systemd.passed_sockets(inherited) if service in LISTENING else []
    return [socket.socket(fileno=fd) for fd in passed]


def _forget_the_ray_before(settings: Settings, ray: RayNode) -> None:
    """With its replicas, which died with it, and on a further node the models that the first one tells again."""
    empty(ray.folder)
    settings.directory.unlink(missing_ok=True)
    note_python(settings.home)
    if not settings.is_first_node:
        settings.declared.unlink(missing_ok=True)


def _tell_when_ready(part: Part, manager: systemd.Manager) -> None:
    """By a process of its own, as this one becomes the part. It goes when it has told, or with the service."""
    if manager.address is None:
        return
    if (child := os.fork()) != 0:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)

    async def wait() -> None:
        while not await part.is_ready():
            await asyncio.sleep(READY_POLL_SECONDS)

    status = 1
    try:
        asyncio.run(wait())
        manager.tell("READY=1")
        status = 0
    finally:
        os._exit(status)
