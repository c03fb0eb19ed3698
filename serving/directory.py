"""The process ``serving``: Ray's only driver. It runs the models and says where their replicas are.

Once a second it asks every replica for its description and writes ``<home>/run/directory.json``, which is all
that the gateway and the worker know of Ray. It returns when Ray is gone; a supervisor starts both again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from serving import deployments
from serving.models import Model
from serving.prepare import PrepareError, ready_directory

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
BROADCAST_TIMEOUT_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 0.5
RAY_GONE_SECONDS = 10.0
DEAF_SECONDS = 6.0
DRAIN_MARGIN_SECONDS = 10.0
NAMESPACE = "serve"
WORKING = frozenset({"RUNNING", "UPDATING", "RECOVERING", "PENDING_MIGRATION"})  # Ray's names
ERROR_LINE = re.compile(r"[\w.]*(Error|Exception): ")


class ModelState:
    """What the directory says of one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.deployed = False
        self.state = "starting"
        self.message = ""
        self.traits: dict[str, Any] = {}
        self.replicas: list[dict[str, Any]] = []
        self._drain = Drain()

    def document(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "message": self.message,
            "context_length": self.model.context_length,
            "traits": self.traits,
            "replicas": self.replicas,
        }

    def listed_earlier(self, document: dict[str, Any]) -> None:
        """What this process's predecessor published: its replicas go on serving while Ray is asked."""
        self.state, self.message = document["state"], document["message"]
        self.traits, self.replicas = document["traits"], document["replicas"]

    async def described(self, answers: Sequence[dict[str, Any]]) -> None:
        """Every replica that Ray lets work answered. The others finish their answers, or are dead."""
        listed = [answer["replica"] for answer in answers]
        leaving = await _still_open(self._drain.leaving(self.replicas, listed, time.monotonic()))
        self.replicas = listed + leaving
        self.traits = answers[-1]["traits"]
        self.state, self.message = "ready", ""

    async def unheard(self, application: Any) -> None:
        """Not every replica answered; ``application`` is Ray's word, None if it knows nothing of the model."""
        if _none_works(application):
            self.replicas = self._drain.leaving(self.replicas, [], time.monotonic())
        self.replicas = await _still_open(self.replicas)
        if application is None or any(not replica["draining"] for replica in self.replicas):
            return
        self.state = "failed" if application.status == "DEPLOY_FAILED" else "starting"
        self.message = _reason(application)

    def is_deaf(self, application: Any) -> bool:
        """Whether Ray says that a replica takes requests and this process hears of none."""
        if application is None or any(not replica["draining"] for replica in self.replicas):
            return False
        return any(deployment.replica_states.get("RUNNING", 0) for deployment in application.deployments.values())

    async def started(self) -> None:
        """Until it answers, or will not. Engines that start at the same time on processors alone start later."""
        while self.state == "starting":
            await asyncio.sleep(PERIOD_SECONDS / 4)

    def forget(self) -> None:
        """Ray does not know the model, so what a predecessor published was of another Ray."""
        self.state, self.message, self.replicas = "starting", "", []


class Drain:
    """Which replicas Ray has ended, though they still finish what they began. It gives them ``DRAIN_SECONDS``."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def leaving(
        self, earlier: Sequence[dict[str, Any]], listed: Sequence[dict[str, Any]], now: float
    ) -> list[dict[str, Any]]:
        """Those of ``earlier`` that are not among ``listed``, marked so that they get no new request."""
        ids, endpoints = ({replica[key] for replica in listed} for key in ("id", "endpoint"))
        gone = [
            replica for replica in earlier if replica["id"] not in ids and replica["endpoint"] not in endpoints
        ]
        self._since = {replica["id"]: self._since.get(replica["id"], now) for replica in gone}
        return [
            {**replica, "draining": True}
            for replica in gone
            if now - self._since[replica["id"]] < deployments.DRAIN_SECONDS + DRAIN_MARGIN_SECONDS
        ]


class Publisher:
    """Writes the directory for whoever reads it at this moment: whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def earlier(self) -> dict[str, Any]:
        """The models of the directory that is there; none if it cannot be read."""
        try:
            models: dict[str, Any] = json.loads(self._path.read_bytes())["models"]
        except (OSError, ValueError, KeyError):
            return {}
        return models

    def publish(self, states: Sequence[ModelState]) -> None:
        document = {
            "published_at": time.time(),
            "models": {state.model.id: state.document() for state in states},
        }
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(document))
        temporary.replace(self._path)


async def run_serving(home: Path, models: Sequence[Model], cluster_secret: str, ray_address: str) -> int:
    """Serves ``models`` until Ray is gone, or until this task is cancelled. Returns the exit status, not 0."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    home = home.resolve()
    states = [ModelState(model) for model in models]
    publisher = Publisher(home / "run" / "directory.json")
    await _take_over(states, publisher.earlier())
    publisher.publish(states)
    ray.init(address=ray_address, namespace=NAMESPACE, log_to_driver=False, logging_level="warning")
    try:
        serve.start(proxy_location="Disabled")
        applications = serve.status().applications
        for name in applications.keys() - {model.id for model in models}:
            serve.delete(name, _blocking=False)
        for state in states:
            if state.model.id not in applications:
                state.forget()
        deploying = asyncio.create_task(_deploy_all(states, home, cluster_secret))
        try:
            return await _publish_until_ray_is_gone(states, publisher)
        finally:
            deploying.cancel()
    finally:
        ray.shutdown()


async def _take_over(states: Sequence[ModelState], earlier: dict[str, Any]) -> None:
    """A restart of this process is no reason to send nobody to replicas that are there."""
    for state in states:
        document = earlier.get(state.model.id, {"replicas": []})
        replicas = await _still_open(document["replicas"])
        if replicas:
            state.listed_earlier({**document, "replicas": replicas})


async def _deploy_all(states: Sequence[ModelState], home: Path, secret: str) -> None:
    for state in states:
        try:
            directory = await _prepared(state, home)
        except PrepareError as error:
            state.state, state.message = "failed", str(error)
            continue
        gpus = deployments.gpus_of_each_replica(state.model, ray.cluster_resources().get("GPU", 0))
        version = deployments.version(state.model, directory, home, secret, gpus)
        if _has_failed(await asyncio.to_thread(serve.status), state.model.id):
            version += f"-{time.time_ns()}"  # the same one would not be tried again
        application = deployments.application(state.model, directory, home, secret, gpus, version)
        await asyncio.to_thread(
            serve.run_many,
            [serve.RunTarget(application, name=state.model.id, route_prefix=None)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        state.deployed = True
        if not gpus:
            await state.started()


def _has_failed(status: Any, model_id: str) -> bool:
    application = status.applications.get(model_id)
    return application is not None and application.status == "DEPLOY_FAILED"


async def _prepared(state: ModelState, home: Path) -> Path:
    """The model's directory. The converter is a process of its own, so that its memory is given back."""
    model, models_directory = state.model, home / "models"
    directory = ready_directory(model.source, model.id, models_directory)
    if directory is not None:
        return directory
    state.message = "converting the model, once; this takes about half a minute"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serving.prepare", model.source, model.id, str(models_directory),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["the converter was killed"]
        raise PrepareError(last[0])
    state.message = ""
    directory = ready_directory(model.source, model.id, models_directory)
    if directory is None:
        raise PrepareError(f"{model.id}: the converter left nothing")
    return directory


async def _publish_until_ray_is_gone(states: Sequence[ModelState], publisher: Publisher) -> int:
    """Also ends when it has become deaf: Ray's list of replicas, kept in this process, may stop being renewed.

    Starting again is no loss: it touches no replica.
    """
    last_heard = last_complete = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(states) + 1, thread_name_prefix="ray") as pool:
        while True:
            began = time.monotonic()
            applications = await _look(states, pool)
            if applications is not None:
                last_heard = time.monotonic()
                publisher.publish(states)
                if not any(state.is_deaf(applications.get(state.model.id)) for state in states):
                    last_complete = last_heard
            if last_heard - last_complete > DEAF_SECONDS:
                logger.error("Ray runs replicas that this process does not hear of; starting again")
                return 1
            if time.monotonic() - last_heard > RAY_GONE_SECONDS:
                logger.error("Ray does not answer")
                return 1
            await asyncio.sleep(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))


async def _look(states: Sequence[ModelState], pool: ThreadPoolExecutor) -> dict[str, Any] | None:
    """The applications as Ray knows them, by model; None if Ray did not answer."""
    loop = asyncio.get_running_loop()
    try:
        applications = await asyncio.wait_for(
            loop.run_in_executor(pool, lambda: serve.status().applications), BROADCAST_TIMEOUT_SECONDS * 2
        )
    except (TimeoutError, RayServeException, ray.exceptions.RayError):
        return None
    looked_at = [state for state in states if state.deployed or state.replicas]
    answers = await asyncio.gather(*(loop.run_in_executor(pool, _describe, state.model.id) for state in looked_at))
    await asyncio.gather(
        *(
            state.described(answer) if answer else state.unheard(applications.get(state.model.id))
            for state, answer in zip(looked_at, answers, strict=True)
        )
    )
    return dict(applications)


def _none_works(application: Any) -> bool:
    """Whether Ray says that none of the model's replicas takes requests: those that did are being stopped."""
    if application is None or not application.deployments:
        return False
    return not any(WORKING & deployment.replica_states.keys() for deployment in application.deployments.values())


async def _still_open(replicas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that take a connection. A broadcast fails whole when one replica is dead."""

    async def is_open(replica: dict[str, Any]) -> bool:
        address = urlsplit(replica["endpoint"])
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(address.hostname, address.port), PROBE_TIMEOUT_SECONDS
            )
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    opens = await asyncio.gather(*map(is_open, replicas))
    return [replica for replica, is_open in zip(replicas, opens, strict=True) if is_open]


def _describe(model_id: str) -> list[dict[str, Any]] | None:
    """Every replica's description; None if one of them did not answer, for a broadcast fails whole."""
    try:
        handle = serve.get_deployment_handle(deployments.DEPLOYMENT, model_id)
        results: list[dict[str, Any]] = handle.broadcast("describe").results(timeout_s=BROADCAST_TIMEOUT_SECONDS)
    except (TimeoutError, RayServeException, ray.exceptions.RayError, RuntimeError):
        return None
    return results


def _reason(application: Any) -> str:
    """What Ray says, in one line: of a trace, the exception that ends it."""
    messages = [deployment.message for deployment in application.deployments.values()] + [application.message]
    text = next((message for message in messages if message), "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if ERROR_LINE.match(line)), lines[0] if lines else "")[:500]
