"""What Prometheus reads, for the operator's own networks alone.

``/metrics/targets`` is all that Prometheus has to be told (``http_sd_configs``): it names this gateway, every
replica and every node of Ray. The engines' and Ray's ports are private, so their metrics are read through here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from appliance.errors import NotFound, Unavailable
from appliance.gateway.metrics import DirectoryMetrics, render
from serving.client.published import Directory
from serving.client.replicas import EngineClient, ReplicaUnreachable


def metrics_router(
    registry: CollectorRegistry, shared: Path | None, engine_client: EngineClient, near: Callable[[Request], None]
) -> APIRouter:
    """``near`` hides all of it from strangers (``appliance.gateway.nearby``)."""
    router = APIRouter(dependencies=[Depends(near)])
    directory = engine_client.directory
    published = CollectorRegistry()
    published.register(DirectoryMetrics(directory))

    @router.get("/metrics")
    async def own_metrics() -> Response:
        return Response(render(registry, published, shared), media_type=CONTENT_TYPE_LATEST)

    @router.get("/metrics/targets")
    async def targets(request: Request) -> list[dict[str, Any]]:
        return _targets(directory, request.url.netloc)

    @router.get("/metrics/replicas/{replica_id}")
    async def replica_metrics(replica_id: str) -> Response:
        return await fetched(_replica_endpoints(directory).get(replica_id))

    @router.get("/metrics/nodes/{node_id}")
    async def node_metrics(node_id: str) -> Response:
        return await fetched(_node_endpoints(directory).get(node_id))

    async def fetched(endpoint: str | None) -> Response:
        if endpoint is None:
            raise NotFound("There is nothing at this path.")
        try:
            return Response(await engine_client.metrics(endpoint), media_type=CONTENT_TYPE_LATEST)
        except ReplicaUnreachable:
            raise Unavailable("It does not answer.") from None

    return router


def _targets(directory: Directory, gateway: str) -> list[dict[str, Any]]:
    """In the form of Prometheus's HTTP service discovery. ``job`` tells the three kinds apart."""
    found = [("/metrics", {"job": "gateway", "instance": gateway})]
    for model, view in directory.models().items():
        for replica in view.replicas:
            labels = {"job": "engine", "instance": replica.id, "model": model, "node": replica.node}
            found.append((f"/metrics/replicas/{replica.id}", labels))
    nodes = _node_endpoints(directory)
    found.extend((f"/metrics/nodes/{node}", {"job": "ray", "instance": node}) for node in nodes)
    return [{"targets": [gateway], "labels": {"__metrics_path__": path, **labels}} for path, labels in found]


def _replica_endpoints(directory: Directory) -> dict[str, str]:
    return {replica.id: replica.endpoint for view in directory.models().values() for replica in view.replicas}


def _node_endpoints(directory: Directory) -> dict[str, str]:
    return {
        node["id"]: f"http://{node['address']}:{node['metrics_port']}"
        for node in directory.nodes()
        if node["metrics_port"]
    }
