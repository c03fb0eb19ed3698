"""The process ``serving``: Ray's only driver. It makes the cluster run what is declared, and says who answers.

Once a second: look (every replica describes itself), decide (``scaling``, ``fit``: pure), act (at most one word
to Ray for each model), publish. It returns when Ray is gone; a supervisor starts both again. A restart of this
process alone touches no replica.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from serving.catalog.declared import Declared
from serving.catalog.models import Model, adapters_of
from serving.catalog.release import other_python
from serving.client.wanted import Wanted
from serving.control import deployments
from serving.control.asking import Asking
from serving.control.cluster import Cluster
from serving.control.directory import ModelState, Publisher, has_failed, take_over
from serving.control.followers import Followers
from serving.control.scaling import Scaler
from serving.engine import starting
from serving.partner import keys
from serving.placement import fit
from serving.replica.description import Told
from serving.weights.preparing import Preparing

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
RAY_GONE_SECONDS = 60.0
DEAF_SECONDS = 12.0
MOST_STUCK_CALLS = 16


async def run_serving(home: Path, cluster_secret: str, ray_address: str) -> int:
    """Serves what is declared until Ray is gone or this task is cancelled. Returns the exit status, not 0."""
    home = home.resolve()
    declared = Declared(home / "run" / "models.json")
    publisher = Publisher(home / "run" / "directory.json")
    states = {name: ModelState(model) for name, model in declared.bases().items()}
    async with Asking(cluster_secret) as asking:
        await take_over(states, publisher.earlier(), asking.renew)
        publisher.publish(_documents(states, declared.models()), published_at=time.time())
        cluster = Cluster(ray_address)
        try:
            return await Controller(home, cluster_secret, cluster, asking, declared, publisher, states).run()
        finally:
            cluster.close()


class Controller:
    """All models of the cluster."""

    def __init__(
        self,
        home: Path,
        secret: str,
        cluster: Cluster,
        asking: Asking,
        declared: Declared,
        publisher: Publisher,
        states: dict[str, ModelState],
    ) -> None:
        self._home = home
        self._secret = secret
        self._cluster = cluster
        self._asking = asking
        self._declared = declared
        self._publisher = publisher
        self._states = states
        self._plans: dict[str, _Plan] = {}
        self._python = other_python(home)
        self._preparing = Preparing(home / "models")
        self._wanted = Wanted(home / "run" / "wanted")
        self._followers = Followers(home, cluster.exchange)
        self._nodes: list[dict[str, Any]] = []
        self._heard_at = 0.0
        self._models: Mapping[str, Model] = declared.models()
        self._revision = 0

    async def run(self) -> int:
        """Also ends when it has become deaf: Ray's list of replicas, kept here, may stop being renewed."""
        last_heard = last_complete = time.monotonic()
        try:
            while True:
                began = time.monotonic()
                statuses = await self._cluster.applications()
                if statuses is None:  # busy, or gone; its replicas go on
                    await asyncio.gather(*(state.renewed(self._asking.renew) for state in self._states.values()))
                else:
                    self._heard_at, last_heard = time.time(), time.monotonic()
                    if not await self._look(statuses):
                        last_complete = last_heard
                    await self._act(statuses)
                self._publish()
                self._followers.tell([node["id"] for node in self._nodes if node["id"] != self._cluster.node])
                if last_heard - last_complete > DEAF_SECONDS:
                    logger.error("Ray runs replicas that this process does not hear of; starting again")
                    return 1
                if time.monotonic() - last_heard > RAY_GONE_SECONDS or self._cluster.stuck > MOST_STUCK_CALLS:
                    logger.error("Ray does not answer")
                    return 1
                await asyncio.sleep(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))
        finally:
            self._preparing.cancel()
            self._followers.cancel()

    async def _look(self, statuses: Mapping[str, Any]) -> bool:
        """Whether this process is deaf."""
        self._know(statuses)
        states = list(self._states.values())
        answers = await asyncio.gather(*(self._describe(state.model.id, statuses) for state in states))
        for state, answer in zip(states, answers, strict=True):
            status = statuses.get(state.model.id)
            if answer:
                await state.described(answer, status, self._asking.renew)
            else:
                await state.unheard(status, self._asking.renew)
        return any(state.is_deaf(statuses.get(state.model.id)) for state in states)

    async def _describe(self, model: str, statuses: Mapping[str, Any]) -> list[Told] | None:
        known = model in statuses and statuses[model].deployments
        return await self._cluster.describe(model) if known else None

    def _know(self, statuses: Mapping[str, Any]) -> None:
        """The models are those that are declared, and those that are on their way out."""
        self._models = self._declared.models()
        self._revision = self._declared.revision  # what is acted on next, and only then published
        declared = {name: model for name, model in self._models.items() if model.base is None}
        for name, model in declared.items():
            self._states.setdefault(name, ModelState(model)).model = model
        for name, state in list(self._states.items()):
            state.removed = name not in declared
            if name not in statuses and state.deployed is None:
                state.forget()
                if state.removed:
                    del self._states[name]

    async def _act(self, statuses: Mapping[str, Any]) -> None:
        nodes = await self._cluster.nodes()
        if nodes is None:
            return
        self._nodes = nodes
        for name in statuses.keys() - self._states.keys():
            await self._cluster.delete(name)
        for state in list(self._states.values()):
            state.doing = starting.said(starting.line_of(self._home, state.model.id))
            try:
                await self._advance(state, statuses.get(state.model.id))
            except (RayError, RayServeException, TimeoutError) as error:
                logger.error("%s: Ray did not do what was asked: %s", state.model.id, type(error).__name__)

    async def _advance(self, state: ModelState, status: Any) -> None:
        """At most one word to Ray, which replaces replicas by itself and starts new ones first where it may."""
        plan = None if state.removed else self._plan(state)
        if plan is None and not state.removed:
            return
        state.version = None if plan is None else plan.version
        state.wanted = 0 if plan is None else plan.scaler.decide(self._requests(state, plan), time.monotonic())
        if plan is None or not state.wanted:
            if status is not None and status.status != "DELETING":
                await self._cluster.delete(state.model.id)
            state.deployed = None
        elif state.deployed != (plan.version, state.wanted):
            first = self._goes_first(state, plan)
            if first is None:
                await self._deploy(state, plan, status)
            else:
                state.doing = f"waits until {first} has started"

    async def _deploy(self, state: ModelState, plan: _Plan, status: Any) -> None:
        version = plan.version
        if state.deployed is None and has_failed(status):
            version += f"-{time.time_ns()}"  # the same one would not be tried again
        application = deployments.application(
            state.model,
            plan.adapters,
            self._secret,
            plan.gpus,
            version,
            state.wanted,
            plan.partner_key,
            surge=self._has_room(state, plan),
            python=self._python,
        )
        await self._cluster.run(state.model.id, application)
        state.forgive()
        if state.deployed is None or state.deployed[0] != plan.version:
            state.deployed_at = time.monotonic()
        state.deployed = (plan.version, state.wanted)

    def _plan(self, state: ModelState) -> _Plan | None:
        """What is to run, once its files are there; None as long as they are not."""
        model = state.model
        adapters = adapters_of(model, self._models.values())
        models = (model, *adapters)
        known = self._plans.get(model.id)
        if known is not None and known.revision == self._revision:
            return known
        try:
            partner_key = None if model.partner is None else keys.read(self._home, model.partner.key)
        except keys.KeyMissing as missing:
            state.preparing, state.unprepared = str(missing), True
            return None
        directories = {} if model.partner is not None else self._preparing.directories(models)
        state.preparing, state.unprepared = self._preparing.progress(models)
        if directories is None:
            return None
        gpus = model.gpus_of_each_replica(sum(len(node["gpus"]) for node in self._nodes))
        version = deployments.version(models, directories, self._home, self._secret, gpus, partner_key)
        count = sum(not one.draining for one in state.replicas) or None
        same = known is not None and known.model.replicas == model.replicas
        scaler = known.scaler if known is not None and same else Scaler(model.replicas, time.monotonic(), count)
        plan = _Plan(self._revision, model, adapters, directories, gpus, version, scaler, partner_key)
        self._plans[model.id] = plan
        return plan

    def _requests(self, state: ModelState, plan: _Plan) -> int:
        """What is waiting at the gateways for a cold model is not seen by any replica."""
        woken = any(self._is_wanted(model.id) for model in (plan.model, *plan.adapters))
        return max(state.requests(), int(woken))

    def _is_wanted(self, model: str) -> bool:
        return self._wanted.is_wanted(model) or self._followers.want(model)

    def _has_room(self, state: ModelState, plan: _Plan) -> bool:
        if plan.model.partner is not None:
            return True
        if not plan.gpus:
            needed = fit.cpu_bytes(plan.model, fit.shape_of(plan.model, plan.directories[plan.model.id]))
            return psutil.virtual_memory().available >= needed * state.wanted
        taken = [
            (replica.node, other.gpus)
            for one in self._states.values()
            if (other := self._plans.get(one.model.id)) is not None
            for replica in one.replicas
        ]
        return fit.has_room(self._nodes, taken, plan.gpus, state.wanted)

    def _goes_first(self, state: ModelState, plan: _Plan) -> str | None:
        """The model that has to start before this one. On processors alone, side by side both would start later;
        engines on parts of a GPU see to it themselves (``serving.engine.memory``).
        """
        if plan.gpus or state.deployed is not None or plan.model.partner is not None:
            return None
        starting_now = (
            one.model.id
            for one in self._states.values()
            if one.deployed is not None and one.state == "starting" and one.model.partner is None
        )
        return next(starting_now, None)

    def _publish(self) -> None:
        self._publisher.publish(
            _documents(self._states, self._models),
            published_at=self._heard_at,
            revision=self._revision,
            nodes=self._nodes,
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to run of a model, at one revision of what is declared."""

    revision: int
    model: Model
    adapters: tuple[Model, ...]
    directories: dict[str, Path]
    gpus: float
    version: str
    scaler: Scaler
    partner_key: str | None


def _documents(states: Mapping[str, ModelState], declared: Mapping[str, Model]) -> dict[str, Any]:
    """An adapter is where its base is, and has fallbacks of its own."""
    documents = {name: state.document() for name, state in states.items()}
    for model in declared.values():
        if model.base in documents:
            documents[model.id] = documents[model.base] | {"fallbacks": model.fallbacks}
    return documents
