"""What Prometheus finds, and what programs read of the API."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from serving.catalog.endpoints import ENDPOINTS
from tests.gateway.conftest import House


async def test_prometheus_is_told_of_every_replica_and_reads_it_through_the_gateway(house: House) -> None:
    async with house.http.get(house.url + "/metrics/targets") as response:
        targets = await response.json()
    own, *engines = targets
    assert own["labels"] == {
        "__metrics_path__": "/metrics", "job": "gateway", "instance": house.url.removeprefix("http://"),
    }  # fmt: skip
    assert [(one["labels"]["job"], one["labels"]["model"]) for one in engines] == [("engine", "smollm2")] * 2
    assert {one["labels"]["instance"] for one in engines} == {
        one.removeprefix("http://") for one in house.replicas()
    }
    document = json.loads(house.settings.directory.read_text())
    for number, replica in enumerate(document["models"]["smollm2"]["replicas"]):
        replica["id"] = f"r{number}"
    house.settings.directory.write_text(json.dumps(document))
    await _read(house, "/metrics/replicas/r1", 200, "vllm:")
    await _read(house, "/metrics/replicas/r2", 404, "error")
    await _read(house, "/metrics/nodes/n1", 404, "error")


async def _read(house: House, path: str, status: int, part: str) -> None:
    for _ in range(20):
        async with house.http.get(house.url + path) as response:
            text = await response.text()
        if response.status == status:
            break
        await asyncio.sleep(0.05)
    assert (response.status, part in text) == (status, True)


async def test_a_model_that_lost_its_replicas_is_seen_though_no_replica_is_left_to_tell(house: House) -> None:
    async def figures() -> dict[str, float]:
        async with house.http.get(house.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return {
            name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    document = json.loads(house.settings.directory.read_text())
    model = document["models"]["smollm2"]
    model["wanted"], model["replicas"][0]["draining"] = 2, True
    house.settings.directory.write_text(json.dumps(document))
    seen = await _until(figures, lambda seen: seen['appliance_model_replicas{model="smollm2"}'] == 1)
    assert seen['appliance_model_replicas_wanted{model="smollm2"}'] == 2
    assert seen["appliance_directory_age_seconds"] >= 0
    model["replicas"] = []
    house.settings.directory.write_text(json.dumps(document))
    await _until(figures, lambda seen: seen['appliance_model_replicas{model="smollm2"}'] == 0)


async def test_a_gateway_that_is_held_up_is_seen_by_how_late_it_comes(house: House) -> None:
    async def late() -> dict[str, float]:
        async with house.http.get(house.url + "/metrics") as response:
            text = await response.text()
        return {"looks": float(text.partition("\nappliance_event_loop_delay_seconds_count ")[2].split()[0])}

    await _until(late, lambda seen: seen["looks"] >= 1)


async def _until(
    look: Callable[[], Awaitable[dict[str, float]]], good: Callable[[dict[str, float]], bool]
) -> dict[str, float]:
    async with asyncio.timeout(10):
        while not good(seen := await look()):
            await asyncio.sleep(0.05)
    return seen


async def test_metrics_are_nobodys_business_behind_a_proxy(house: House) -> None:
    for path in ("/metrics", "/metrics/targets", "/metrics/replicas/r1"):
        async with house.http.get(house.url + path, headers={"x-forwarded-for": "10.0.0.1"}) as response:
            assert response.status == 404


async def test_the_description_has_every_endpoint_and_its_errors(house: House) -> None:
    async with house.http.get(house.url + "/openapi.json") as response:
        document: dict[str, Any] = await response.json()
    assert ENDPOINTS.keys() <= document["paths"].keys()
    assert document["components"]["schemas"]["ModelId"]["enum"] == ["minilm", "smollm2"]
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["required"] == ["model", "messages"]
    assert {"200", "400", "401", "402", "429", "503"} <= chat["responses"].keys()
    references = set(_references(document))
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []
