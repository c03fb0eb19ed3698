"""What the process ``serving`` knows of the models and publishes: who answers, and how far the others are.

``<home>/run/directory.json`` is all that the gateway and the worker know of Ray.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from serving.catalog.models import Model
from serving.control.pace import Pace
from serving.files import write_whole
from serving.replica.description import MOST_STILL_ASKED_SECONDS, Description, Told

DRAIN_MARGIN_SECONDS = MOST_STILL_ASKED_SECONDS + 10.0
"""What a replica that is stopped has beyond its model's ``drain_seconds``, and some more."""
WORKING = frozenset({"RUNNING", "UPDATING", "RECOVERING", "PENDING_MIGRATION"})  # Ray's names
Renew = Callable[[Sequence[Description]], Awaitable[list[Description]]]
"""``serving.control.asking.Asking.renew``: replicas as they are now, without those that are gone."""
NEW_FAILS = "the new version does not start, the earlier one goes on: "
ERROR_LINE = re.compile(r"[\w.]*(Error|Exception): ")


class ModelState:
    """What the directory says of one model, a Ray Serve application.

    ``version`` and ``wanted`` are what is asked for: which version, in how many replicas. ``preparing`` is what is
    done before Ray is told of it, and ``unprepared`` whether that failed; ``doing`` is what a start waits for, or
    does.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.removed = False
        self.version: str | None = None
        self.wanted = 0
        self.preparing = ""
        self.unprepared = False
        self.doing = ""
        self.deployed: tuple[str, int] | None = None
        self.deployed_at: float | None = None
        self.start_seconds = 0.0
        self.state = "starting"
        self.message = ""
        self.traits: dict[str, Any] = {}
        self.replicas: Sequence[Description] = ()
        self._begun: dict[str, int] = {}
        self._pace = Pace()
        self._drain = Drain(model.drain_seconds)

    @property
    def ready(self) -> int:
        """Replicas of the version that is asked for."""
        return sum(not one.draining and one.version == self.version for one in self.replicas)

    def requests(self) -> int:
        """Running and waiting; at least one if any came since this was asked last, as most are over in no time."""
        begun = {replica.id: replica.begun for replica in self.replicas}
        came = any(count > self._begun.get(name, 0) for name, count in begun.items())
        self._begun = begun
        requests = sum(replica.running + replica.waiting for replica in self.replicas)
        return max(requests, int(came))

    @property
    def answers(self) -> bool:
        return any(not replica.draining for replica in self.replicas)

    def document(self) -> dict[str, Any]:
        return {
            "state": "removed" if self.removed else self.state,
            "message": self.preparing or self._told(),
            "context_length": self.model.context_length,
            "traits": self.traits,
            "fallbacks": self.model.fallbacks,
            "replicas": self.replicas,
            "start_seconds": self.start_seconds,
            "tokens_per_second": self._pace.per_second,
            "wanted": self.wanted,
            "ready": self.ready,
            "settled": self.ready == self.wanted == len(self.replicas) and not self.preparing,
            "failed": self.unprepared or self.state == "failed" or self.message.startswith(NEW_FAILS),
        }

    def _told(self) -> str:
        """Of a start what it does, which Ray does not know, unless it failed before."""
        if self.state == "starting" and self.doing and not ERROR_LINE.match(self.message):
            return self.doing
        return self.message

    def remember(self, earlier: Earlier, replicas: Sequence[Description]) -> None:
        """What this process's predecessor published: its replicas go on serving while Ray is asked."""
        self.traits, self.start_seconds = earlier.traits, earlier.start_seconds
        if replicas:
            self.state, self.message, self.wanted = earlier.state, earlier.message, earlier.wanted
            self._take(replicas)

    async def described(self, answers: Sequence[Told], status: Any, renew: Renew) -> None:
        """Every replica that Ray lets work answered. The others finish their answers, or are dead."""
        listed = [answer.replica for answer in answers]
        leaving = await renew(self._drain.leaving(self.replicas, listed, time.monotonic()))
        self._take(listed + leaving)
        self.traits = answers[-1].traits
        if self.deployed_at is not None and self.ready:
            self.start_seconds, self.deployed_at = time.monotonic() - self.deployed_at, None
        self.state = "ready"
        self.message = f"{NEW_FAILS}{_reason(status)}" if has_failed(status) and not self.ready else ""

    async def unheard(self, status: Any, renew: Renew) -> None:
        """Not all answered through Ray, which asks all or none; ``status`` is None if it knows no such model."""
        if _none_works(status):
            self.replicas = self._drain.leaving(self.replicas, [], time.monotonic())
        self._take(await renew(self.replicas))
        if self.answers:
            return
        if not self.wanted and self.traits:
            self.state, self.message = "cold", ""
        elif self.unprepared:
            self.state = "failed"
        elif status is not None:
            self.state = "failed" if has_failed(status) else "starting"
            self.message = _reason(status)

    async def renewed(self, renew: Renew) -> None:
        """Ray said nothing; the replicas say what they do all the same."""
        self._take(await renew(self.replicas))

    def _take(self, replicas: Sequence[Description]) -> None:
        """One that is leaving, and takes requests yet, gets them until its successor is known."""
        self._pace.see({one.id: one.written for one in replicas}, time.monotonic())
        replaced = not self.wanted or any(not (one.draining or one.leaving) for one in replicas)
        self.replicas = [one.as_seen(draining=one.draining or (replaced and one.leaving)) for one in replicas]

    def is_deaf(self, status: Any) -> bool:
        """Whether Ray says that a replica takes requests and this process hears of none."""
        if status is None or self.answers:
            return False
        return any(deployment.replica_states.get("RUNNING", 0) for deployment in status.deployments.values())

    def forgive(self) -> None:
        """Something else is asked for: that an earlier version did not start says nothing of this one."""
        self.message = ""
        if self.state == "failed":
            self.state = "starting"

    def forget(self) -> None:
        """Ray does not know the model, so what a predecessor published was of another Ray."""
        self.state, self.message, self.replicas = "starting", "", ()


class Drain:
    """Which replicas Ray has ended, though they still finish what they began. It gives them ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds + DRAIN_MARGIN_SECONDS
        self._since: dict[str, float] = {}

    def leaving(
        self, earlier: Sequence[Description], listed: Sequence[Description], now: float
    ) -> list[Description]:
        """Those of ``earlier`` that are not among ``listed``, marked so that they get no new request."""
        ids, endpoints = {one.id for one in listed}, {one.endpoint for one in listed}
        gone = [one for one in earlier if one.id not in ids and one.endpoint not in endpoints]
        self._since = {one.id: self._since.get(one.id, now) for one in gone}
        return [one.as_seen(draining=True) for one in gone if now - self._since[one.id] < self._seconds]


class Earlier(msgspec.Struct, frozen=True):
    """What a predecessor, who may be of an earlier version, published of a model."""

    state: str
    traits: dict[str, Any]
    replicas: list[Description]
    message: str = ""
    start_seconds: float = 0.0
    wanted: int = 0


class _Published(msgspec.Struct, frozen=True):
    models: dict[str, Earlier]


class Publisher:
    """Writes the directory for whoever reads it at this moment: whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def earlier(self) -> dict[str, Earlier]:
        """The models of the directory that is there; none if it cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Published).models
        except (OSError, ValueError):
            return {}

    def publish(self, models: Mapping[str, Any], **more: Any) -> None:
        write_whole(self._path, msgspec.json.encode({"models": models, **more}))


async def take_over(states: Mapping[str, ModelState], earlier: Mapping[str, Earlier], renew: Renew) -> None:
    """A restart of this process is no reason to send nobody to replicas that are there."""
    for name, state in states.items():
        if (before := earlier.get(name)) is not None:
            state.remember(before, await renew(before.replicas))


def has_failed(status: Any) -> bool:
    """Whether Ray has given up starting what it was told last.

    It says the same of one that died while its predecessor was still finishing its answers, and starts another.
    """
    if status is None or status.status != "DEPLOY_FAILED":
        return False
    return all(deployment.status_trigger != "HEALTH_CHECK_FAILED" for deployment in status.deployments.values())


def _none_works(status: Any) -> bool:
    """Whether Ray says that none of the replicas takes requests: those that did are being stopped."""
    if status is None or not status.deployments:
        return False
    return not any(WORKING & deployment.replica_states.keys() for deployment in status.deployments.values())


def _reason(status: Any) -> str:
    """What Ray says, in one line: of a trace, the exception that ends it."""
    messages = [deployment.message for deployment in status.deployments.values()] + [status.message]
    text = next((message for message in messages if message), "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if ERROR_LINE.match(line)), lines[0] if lines else "")[:500]
