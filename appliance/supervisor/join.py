"""A further node of a system: what `appliance join` runs beside the first node's parts."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import socket
import time
from collections.abc import Mapping

import msgspec

from appliance.settings import RaySettings, Settings, SettingsError
from appliance.supervisor.launch import System, launch
from appliance.supervisor.layout import require_what_the_first_node_has
from appliance.supervisor.system import ALONE, RayNode, accepts, plan_ray

REACH_SECONDS = 1.0


def join(settings: Settings, head: str, inherited: Mapping[str, str]) -> int:
    """Run this node until a signal stops it; the exit status. `head` is `host:port` of the first node's Ray.

    Raises:
        SettingsError, SecretsError: something that the first node has is missing here.
        AlreadyRunningError, AddressError: before anything was started.
    """
    require_what_the_first_node_has(settings)
    return launch(joined(settings, head), inherited, JoinedSystem)


def joined(settings: Settings, head: str) -> Settings:
    """With the address of this node, and whose it is. Raises SettingsError."""
    ray = msgspec.structs.replace(settings.ray, node_address=_own_address(settings.ray, head))
    return dataclasses.replace(settings, ray=ray, ray_address=head)


class JoinedSystem(System):
    """Replicas, gateways and a worker; the first node says what runs, and its Ray starts it here."""

    has_site = False

    def lay_out(self) -> None:
        self.settings.joined_to.write_text(f"{self.ray.address}\n")
        self.settings.declared.unlink(missing_ok=True)

    def plan_ray(self) -> RayNode:
        return plan_ray(self.settings, self.settings.ray_address)

    async def start(self) -> None:
        first = self.ray.address
        await self._reach(first)
        await self.start_ray(f"joining {first}", f"{self.ray.host} joined {first}")
        await self.start_gateways()
        seconds = f"{time.monotonic() - self.started_at:.0f} s"
        serves = f", serves at {self.url}" if self.settings.gateway.processes else ""
        self.screen.say("", f"joined after {seconds}{serves}", "", "Ctrl-C stops everything on this node.", "")

    async def _reach(self, first: str) -> None:
        """Returns when the first node answers; it may be started later than this one."""
        host, _, port = first.rpartition(":")
        step = self.screen.step("first node", f"asking {first}")
        if not await accepts(host, int(port)):
            self.screen.say(f"nobody answers at {first} yet: does `appliance up` run there?")
            step.update(f"waiting for {first}")
        while not await accepts(host, int(port)):
            await asyncio.sleep(REACH_SECONDS)
        step.done(f"{first} answers")


def _own_address(ray: RaySettings, head: str) -> str:
    """What appliance.yaml says, or else the address of this machine that reaches the first node."""
    host, _, port = head.rpartition(":")
    try:
        far = ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise SettingsError(f"{head}: the first node's Ray is expected, such as 10.0.0.1:6379") from None
    if str(far) == ALONE:
        raise SettingsError(f"{head}: a first node at {ALONE} has no others: give it a `ray.node_address`")
    if ray.node_address != RaySettings().node_address:
        return ray.node_address
    with socket.socket(socket.AF_INET6 if far.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, number))
        except OSError as error:
            raise SettingsError(f"{head}: cannot be reached from here: {error.strerror}") from None
        return str(probe.getsockname()[0])
