"""What is published of replicas that Ray ended, and when Ray is told to replace them; without Ray."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import deployments
from serving.directory import DRAIN_MARGIN_SECONDS, Drain, ModelState, Publisher, _take_over
from serving.models import Model, Rates

MODEL = Model("m", "package:p/f", 2048, Rates(1, 1, 1), 1, 0, 1, 8, {"a": 1, "b": 2})


def _replica(name: str, endpoint: str = "") -> dict[str, Any]:
    return {"id": name, "endpoint": endpoint or f"http://127.0.0.1:{ord(name)}", "draining": False}


def _answer(replica: dict[str, Any]) -> dict[str, Any]:
    return {"replica": replica, "traits": {"template_tokens": 70}}


def _application(status: str, **replica_states: int) -> Any:
    deployment = SimpleNamespace(replica_states=replica_states, message="")
    return SimpleNamespace(status=status, message="", deployments={"Replica": deployment})


def _shown(state: ModelState) -> tuple[str, dict[str, bool]]:
    return state.state, {replica["id"]: replica["draining"] for replica in state.replicas}


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    """A port that takes connections."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_replica_that_ray_ended_is_listed_while_its_port_is_open(endpoint: str) -> None:
    state = ModelState(MODEL)
    await state.described([_answer(_replica("a", endpoint)), _answer(_replica("b"))])
    await state.described([_answer(_replica("c"))])
    assert _shown(state) == ("ready", {"c": False, "a": True})
    await state.described([_answer(_replica("c")), _answer(_replica("a", endpoint))])
    assert _shown(state) == ("ready", {"c": False, "a": False})


async def test_the_last_replica_drains_before_its_successor_is_there(endpoint: str) -> None:
    state = ModelState(MODEL)
    await state.described([_answer(_replica("a", endpoint))])
    await state.unheard(_application("DEPLOYING", STOPPING=1, STARTING=1))
    assert _shown(state) == ("starting", {"a": True})


@pytest.mark.parametrize("states", [{"RUNNING": 1}, {"RECOVERING": 1}])
async def test_a_replica_that_does_not_tell_ray_goes_on(endpoint: str, states: dict[str, int]) -> None:
    state = ModelState(MODEL)
    await state.described([_answer(_replica("a", endpoint)), _answer(_replica("d"))])
    await state.unheard(_application("RUNNING", **states))
    assert _shown(state) == ("ready", {"a": False})


async def test_a_killed_replica_leaves_at_once() -> None:
    state = ModelState(MODEL)
    await state.described([_answer(_replica("a"))])
    await state.unheard(_application("RUNNING", RUNNING=1))
    assert _shown(state) == ("starting", {})


def test_a_drain_has_an_end() -> None:
    drain, earlier = Drain(), [_replica("a")]
    longest = deployments.DRAIN_SECONDS + DRAIN_MARGIN_SECONDS
    assert drain.leaving(earlier, [_replica("b")], 100.0) == [{**earlier[0], "draining": True}]
    assert drain.leaving(earlier, [], 99.0 + longest) != []
    assert drain.leaving(earlier, [], 100.0 + longest) == []


def test_a_successor_on_the_same_port_is_no_drain() -> None:
    assert Drain().leaving([_replica("a", "http://h:1")], [_replica("b", "http://h:1")], 0) == []


async def test_a_new_serving_process_takes_over_what_still_listens(endpoint: str, tmp_path: Path) -> None:
    publisher, before, after = Publisher(tmp_path / "directory.json"), ModelState(MODEL), ModelState(MODEL)
    await _take_over([after], publisher.earlier())
    assert _shown(after) == ("starting", {})
    await before.described([_answer(_replica("a", endpoint)), _answer(_replica("b"))])
    publisher.publish([before])
    await _take_over([after], publisher.earlier())
    assert _shown(after) == ("ready", {"a": False})
    assert after.traits == {"template_tokens": 70}
    after.forget()
    assert _shown(after) == ("starting", {})


def _version(model: Model = MODEL, directory: str = "/d", secret: str = "s", gpus: int = 0) -> str:
    return deployments.version(model, Path(directory), Path("/h"), secret, gpus)


@pytest.mark.parametrize("unlike", [{"rates": Rates(2, 2, 2)}, {"replicas": 3}, {"engine_args": {"b": 2, "a": 1}}])
def test_what_leaves_running_replicas_as_they_are(unlike: dict[str, Any]) -> None:
    assert _version(dataclasses.replace(MODEL, **unlike)) == _version()


def test_what_replaces_running_replicas(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("old")
    own = dataclasses.replace(MODEL, source=f"directory:{tmp_path}")
    versions = [
        _version(),
        _version(dataclasses.replace(MODEL, engine_args={"a": 2})),
        _version(dataclasses.replace(MODEL, queue_limit=9)),
        _version(directory="/other"),
        _version(secret="t"),
        _version(gpus=1),
        _version(own, str(tmp_path)),
    ]
    (tmp_path / "weights").write_text("newer")
    versions.append(_version(own, str(tmp_path)))
    assert len(set(versions)) == len(versions)


def test_ray_is_told_the_version() -> None:
    application = deployments.application(MODEL, Path("/d"), Path("/h"), "s", 0, "v")
    assert application._bound_deployment.version == "v"


async def test_a_process_that_ray_no_longer_tells_of_replicas_notices(endpoint: str) -> None:
    state = ModelState(MODEL)
    assert not state.is_deaf(None)
    assert not state.is_deaf(_application("DEPLOYING", STARTING=1))
    assert state.is_deaf(_application("RUNNING", RUNNING=1))
    await state.described([_answer(_replica("a", endpoint))])
    assert not state.is_deaf(_application("RUNNING", RUNNING=1))
