"""Ray, as far as the process ``serving`` needs it: thin calls with time-outs, none of which decides anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serving.control import deployments
from serving.control.follower import Follower
from serving.control.patience import Patience
from serving.placement.gpus import local_gpus
from serving.replica.description import Told

NAMESPACE = "serve"
STATUS_TIMEOUT_SECONDS = 2.0
DESCRIBE_TIMEOUT_SECONDS = 1.0
GPUS_TIMEOUT_SECONDS = 30.0
EXCHANGE_TIMEOUT_SECONDS = 10.0
ORDER_TIMEOUT_SECONDS = 30.0
MARGIN_SECONDS = 2.0  # what Ray does before and after the wait that it bounds itself


class Cluster:
    """To be closed. Raises whatever Ray raises where nothing else is said, and TimeoutError."""

    def __init__(self, address: str) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        host = address.rpartition(":")[0]  # of several nodes on a machine, the first
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="warning",
            _node_ip_address=host,
        )
        self.node: str = ray.get_runtime_context().get_node_id()
        self._followers: dict[str, Any] = {}
        self._patience = Patience()
        self._gpus_of: dict[str, list[dict[str, Any]]] = {}
        serve.start(proxy_location="Disabled")

    def close(self) -> None:
        ray.shutdown()

    @property
    def stuck(self) -> int:
        """How many calls have not returned though they should have long ago."""
        return self._patience.stuck

    async def applications(self) -> dict[str, Any] | None:
        """Every application's status as Ray knows it, by name; None if Ray does not answer."""
        try:
            return dict(await self._patience.call(lambda: serve.status().applications, STATUS_TIMEOUT_SECONDS))
        except (TimeoutError, RayServeException, ray.exceptions.RayError):
            return None

    async def describe(self, application: str) -> list[Told] | None:
        """Every replica's description; None if one of them did not answer, for a broadcast fails whole."""

        def ask() -> list[Told]:
            handle = serve.get_deployment_handle(deployments.DEPLOYMENT, application)
            results = handle.broadcast("describe").results(timeout_s=DESCRIBE_TIMEOUT_SECONDS)
            return msgspec.convert(results, list[Told])

        try:
            return await self._patience.call(ask, DESCRIBE_TIMEOUT_SECONDS + MARGIN_SECONDS)
        except (TimeoutError, RayServeException, ray.exceptions.RayError, RuntimeError, KeyError):
            return None

    async def run(self, name: str, application: serve.Application) -> None:
        """Returns when Ray has taken it over, not when it runs."""
        await self._patience.call(
            lambda: serve.run_many(
                [serve.RunTarget(application, name=name, route_prefix=None)],
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            ),
            ORDER_TIMEOUT_SECONDS,
        )

    async def delete(self, application: str) -> None:
        """Its replicas finish what they write."""
        await self._patience.call(lambda: serve.delete(application, _blocking=False), ORDER_TIMEOUT_SECONDS)

    async def nodes(self) -> list[dict[str, Any]] | None:
        """The living nodes: ``id``, ``address``, ``metrics_port``, ``gpus`` with ``name`` and ``memory_bytes``.

        None if Ray does not answer.
        """
        try:
            known = await self._patience.call(ray.nodes, STATUS_TIMEOUT_SECONDS)
        except (TimeoutError, ray.exceptions.RayError):
            return None
        return [
            {
                "id": node["NodeID"],
                "address": node["NodeManagerAddress"],
                "metrics_port": node.get("MetricsExportPort", 0),
                "gpus": await self._gpus(node["NodeID"], int(node["Resources"].get("GPU", 0))),
            }
            for node in known
            if node["Alive"]
        ]

    async def exchange(
        self, node: str, files: Mapping[str, bytes], pieces: Sequence[tuple[str, int]]
    ) -> dict[str, Any] | None:
        """With the node's follower, which is started if it has none; None if it does not answer."""

        def talk() -> dict[str, Any]:
            if node not in self._followers:
                self._followers[node] = ray.remote(Follower).options(num_cpus=0, **_on(node)).remote()
            reply = self._followers[node].exchange.remote(files, pieces)
            return dict(ray.get(reply, timeout=EXCHANGE_TIMEOUT_SECONDS))

        try:
            return await self._patience.call(talk, EXCHANGE_TIMEOUT_SECONDS + MARGIN_SECONDS)
        except TimeoutError:  # Ray's is one too; its actor may be starting yet
            return None
        except ray.exceptions.RayError:
            self._followers.pop(node, None)
            return None

    async def _gpus(self, node: str, count: int) -> list[dict[str, Any]]:
        """The node is asked once."""
        if count and node not in self._gpus_of:
            task = ray.remote(local_gpus).options(num_cpus=0, **_on(node))
            try:
                self._gpus_of[node] = await self._patience.call(
                    lambda: ray.get(task.remote(), timeout=GPUS_TIMEOUT_SECONDS),
                    GPUS_TIMEOUT_SECONDS + MARGIN_SECONDS,
                )
            except (TimeoutError, ray.exceptions.RayError):
                self._gpus_of[node] = []
        known = self._gpus_of.get(node, [])[:count]
        return known + [{"name": "GPU", "memory_bytes": 0}] * (count - len(known))


def _on(node: str) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
