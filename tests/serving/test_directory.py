"""What is published of replicas that Ray ended, and when Ray is told to replace them; without Ray."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from serving.catalog.models import Model, Rates, Replicas
from serving.catalog.release import note_python, other_python
from serving.control import deployments
from serving.control.asking import Asking, as_described
from serving.control.directory import (
    DRAIN_MARGIN_SECONDS,
    NEW_FAILS,
    Drain,
    ModelState,
    Publisher,
    Renew,
    take_over,
)
from serving.replica.description import Description, Told

MODEL = Model("m", "package:p/f", 2048, Rates(1, 1, 1), gpus=0, queue_limit=8, engine_args={"a": 1, "b": 2})
DRAIN_SECONDS = 60


def _replica(name: str, endpoint: str = "", **more: Any) -> Description:
    plain = Description(
        id=name, endpoint=endpoint or f"http://127.0.0.1:{ord(name)}", version="v", node="n", running=0, waiting=0,
        begun=0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **more)


def _answer(replica: Description) -> Told:
    return Told(replica, {"template_tokens": 70})


def _application(status: str, trigger: str = "", **replica_states: int) -> Any:
    deployment = SimpleNamespace(replica_states=replica_states, message="", status_trigger=trigger)
    return SimpleNamespace(status=status, message="", deployments={"Replica": deployment})


RUNNING = _application("RUNNING", RUNNING=1)


def _asked(version: str = "v") -> ModelState:
    state = ModelState(MODEL)
    state.version, state.wanted = version, 1
    return state


def _shown(state: ModelState) -> tuple[str, dict[str, bool]]:
    return state.state, {replica.id: replica.draining for replica in state.replicas}


def _says(found: dict[str, Description]) -> Renew:
    """Replicas that say this of themselves; the others cannot be asked."""

    async def renew(replicas: Sequence[Description]) -> list[Description]:
        return [as_described(found.get(replica.id, replica), replica) for replica in replicas]

    return renew


_as_they_are = _says({})


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    """A port that takes connections."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def renew() -> AsyncIterator[Renew]:
    async with Asking("secret") as asking:
        yield asking.renew


async def test_a_replica_that_ray_ended_is_listed_while_its_port_is_open(endpoint: str, renew: Renew) -> None:
    state = _asked()
    await state.described([_answer(_replica("a", endpoint)), _answer(_replica("b"))], RUNNING, renew)
    await state.described([_answer(_replica("c"))], RUNNING, renew)
    assert _shown(state) == ("ready", {"c": False, "a": True})
    await state.described([_answer(_replica("c")), _answer(_replica("a", endpoint))], RUNNING, renew)
    assert _shown(state) == ("ready", {"c": False, "a": False})


async def test_the_last_replica_drains_before_its_successor_is_there(endpoint: str, renew: Renew) -> None:
    state = _asked()
    await state.described([_answer(_replica("a", endpoint))], RUNNING, renew)
    await state.unheard(_application("DEPLOYING", STOPPING=1, STARTING=1), renew)
    assert _shown(state) == ("starting", {"a": True})


async def test_a_replica_that_is_leaving_is_asked_until_its_successor_is_known() -> None:
    state, leaving = _asked(), _replica("a", leaving=True)
    await state.described([_answer(_replica("a"))], RUNNING, _as_they_are)
    await state.unheard(_application("DEPLOYING", RUNNING=1, STOPPING=1), _says({"a": leaving}))
    assert _shown(state) == ("ready", {"a": False})
    await state.described([_answer(leaving)], RUNNING, _says({"a": leaving}))
    assert _shown(state) == ("ready", {"a": False})
    await state.described([_answer(_replica("b"))], RUNNING, _says({"a": leaving}))
    assert _shown(state) == ("ready", {"b": False, "a": True})
    await state.described([_answer(leaving)], RUNNING, _says({"a": leaving}))  # the successor died
    assert _shown(state) == ("ready", {"a": False, "b": True})
    await state.unheard(_application("DEPLOYING", STOPPING=1), _says({"a": leaving.as_seen(draining=True)}))
    assert _shown(state) == ("starting", {"a": True, "b": True})


async def test_a_replica_of_a_model_that_is_to_be_cold_is_asked_no_more() -> None:
    state, leaving = _asked(), _replica("a", leaving=True)
    await state.described([_answer(_replica("a"))], RUNNING, _as_they_are)
    state.wanted = 0
    await state.unheard(_application("DELETING", STOPPING=1), _says({"a": leaving}))
    assert _shown(state) == ("cold", {"a": True})


async def test_a_process_that_takes_over_in_the_middle_of_a_replacement(tmp_path: Path) -> None:
    publisher, before, after = Publisher(tmp_path / "directory.json"), _asked(), _asked()
    leaving = _replica("a", leaving=True)
    await before.described([_answer(_replica("b"))], RUNNING, _says({"a": leaving}))
    before.replicas = [_replica("b"), leaving.as_seen(draining=True)]
    publisher.publish({"m": before.document()})
    after.wanted = 0
    await take_over({"m": after}, publisher.earlier(), _says({"a": leaving}))
    assert _shown(after) == ("ready", {"b": False, "a": True})
    publisher.publish({"m": before.document() | {"replicas": [leaving]}})
    await take_over({"m": after}, publisher.earlier(), _says({"a": leaving}))
    assert _shown(after) == ("ready", {"a": False})


@pytest.mark.parametrize("states", [{"RUNNING": 1}, {"RECOVERING": 1}])
async def test_a_replica_that_does_not_tell_ray_goes_on(
    endpoint: str, states: dict[str, int], renew: Renew
) -> None:
    state = _asked()
    await state.described([_answer(_replica("a", endpoint)), _answer(_replica("d"))], RUNNING, renew)
    await state.unheard(_application("RUNNING", "", **states), renew)
    assert _shown(state) == ("ready", {"a": False})


async def test_a_killed_replica_leaves_at_once(renew: Renew) -> None:
    state = _asked()
    await state.described([_answer(_replica("a"))], RUNNING, renew)
    await state.unheard(_application("RUNNING", RUNNING=1), renew)
    assert _shown(state) == ("starting", {})


async def test_a_replica_that_died_right_after_it_replaced_another_is_no_failure(renew: Renew) -> None:
    state = _asked()
    await state.unheard(_application("DEPLOY_FAILED", "HEALTH_CHECK_FAILED", STARTING=1), renew)
    assert _shown(state) == ("starting", {})
    await state.unheard(_application("DEPLOY_FAILED", "REPLICA_STARTUP_FAILED", STARTING=1), renew)
    assert _shown(state) == ("failed", {})


def test_a_drain_has_an_end() -> None:
    drain, earlier = Drain(DRAIN_SECONDS), [_replica("a")]
    longest = DRAIN_SECONDS + DRAIN_MARGIN_SECONDS
    assert drain.leaving(earlier, [_replica("b")], 100.0) == [earlier[0].as_seen(draining=True)]
    assert drain.leaving(earlier, [], 99.0 + longest) != []
    assert drain.leaving(earlier, [], 100.0 + longest) == []


def test_a_successor_on_the_same_port_is_no_drain() -> None:
    assert Drain(DRAIN_SECONDS).leaving([_replica("a", "http://h:1")], [_replica("b", "http://h:1")], 0) == []


async def test_a_new_serving_process_takes_over_what_still_listens(
    endpoint: str, tmp_path: Path, renew: Renew
) -> None:
    publisher, before, after = Publisher(tmp_path / "directory.json"), _asked(), _asked()
    await take_over({"m": after}, publisher.earlier(), renew)
    assert _shown(after) == ("starting", {})
    await before.described([_answer(_replica("a", endpoint)), _answer(_replica("b"))], RUNNING, renew)
    publisher.publish({"m": before.document()})
    await take_over({"m": after}, publisher.earlier(), renew)
    assert _shown(after) == ("ready", {"a": False})
    assert after.traits == {"template_tokens": 70}
    after.forget()
    assert _shown(after) == ("starting", {})


async def test_replicas_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    file, state = tmp_path / "directory.json", _asked()
    replica = {
        "id": "a", "version": "v", "endpoint": "http://127.0.0.1:9", "node": "n", "running": 1, "waiting": 0,
        "begun": 3, "draining": False, "of_then": True,
    }  # fmt: skip
    model = {"state": "ready", "traits": {"template_tokens": 70}, "replicas": [replica], "of_then": 1}
    file.write_text(json.dumps({"published_at": 1.0, "models": {"m": model}}))
    await take_over({"m": state}, Publisher(file).earlier(), _as_they_are)
    assert _shown(state) == ("ready", {"a": False})
    file.write_text(json.dumps({"models": {"m": {"of": "a version that nobody knows"}}}))
    assert Publisher(file).earlier() == {}


async def test_it_is_as_asked_for_when_the_earlier_version_is_gone(endpoint: str, renew: Renew) -> None:
    state, old, new = _asked("w"), _replica("a", endpoint), _replica("b", version="w")
    await state.described([_answer(old)], RUNNING, renew)
    assert (state.ready, state.document()["settled"]) == (0, False)
    await state.described([_answer(new)], RUNNING, renew)
    assert _shown(state) == ("ready", {"b": False, "a": True})
    assert (state.ready, state.document()["settled"]) == (1, False)
    state.replicas = [new]
    assert state.document()["settled"]


async def test_a_version_that_does_not_start_leaves_the_earlier_one_serving(endpoint: str, renew: Renew) -> None:
    state, failed = _asked("w"), _application("DEPLOY_FAILED", RUNNING=1)
    failed.deployments["Replica"].message = "Traceback\nValueError: engine_args: no such thing"
    await state.described([_answer(_replica("a", endpoint))], failed, renew)
    document = state.document()
    assert (document["state"], document["failed"], document["settled"]) == ("ready", True, False)
    assert document["message"] == NEW_FAILS + "ValueError: engine_args: no such thing"


async def test_a_model_that_nobody_needs_is_cold_and_keeps_what_it_told(endpoint: str, renew: Renew) -> None:
    state = _asked()
    await state.described([_answer(_replica("a"))], RUNNING, renew)
    state.wanted = 0
    await state.unheard(None, renew)
    assert _shown(state) == ("cold", {})
    assert (state.traits, state.document()["settled"]) == ({"template_tokens": 70}, True)


def test_short_requests_keep_a_model_awake() -> None:
    state = _asked()
    state.replicas = [_replica("a", begun=5)]
    assert [state.requests(), state.requests()] == [1, 0]
    state.replicas = [_replica("a", begun=6), _replica("b", running=2, waiting=1)]
    assert [state.requests(), state.requests()] == [3, 3]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_text("old")
    return tmp_path


def _version(directory: Path, model: Model = MODEL, secret: str = "s", gpus: float = 0) -> str:
    return deployments.version([model], {"m": directory}, Path("/h"), secret, gpus, None)


@pytest.mark.parametrize(
    "unlike", [{"rates": Rates(2, 2, 2)}, {"replicas": Replicas(3, 3)}, {"engine_args": {"b": 2, "a": 1}}]
)
def test_what_leaves_running_replicas_as_they_are(unlike: dict[str, Any], weights: Path) -> None:
    assert _version(weights, dataclasses.replace(MODEL, **unlike)) == _version(weights)


def test_what_replaces_running_replicas(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other, adapter = tmp_path_factory.mktemp("other"), dataclasses.replace(MODEL, id="lora", base="m")
    versions = [
        _version(weights),
        _version(weights, dataclasses.replace(MODEL, engine_args={"a": 2})),
        _version(weights, dataclasses.replace(MODEL, queue_limit=9)),
        _version(other),
        _version(weights, secret="t"),
        _version(weights, gpus=1),
        deployments.version([MODEL, adapter], {"m": weights, "lora": other}, Path("/h"), "s", 0, None),
    ]
    (weights / "weights").write_text("newer")
    versions.append(_version(weights))
    assert len(set(versions)) == len(versions)


def test_ray_is_told_the_version_how_long_answers_may_take_to_end_and_when_to_give_up() -> None:
    application = deployments.application(MODEL, (), "s", 0, "v", 2, None, surge=True, python=None)
    deployment = application._bound_deployment
    assert (deployment.version, deployment.num_replicas) == ("v", 2)
    config = deployment._deployment_config
    assert config.graceful_shutdown_timeout_s >= MODEL.drain_seconds
    assert config.max_surge_percent == 100
    assert config.max_constructor_retry_count == 3


def test_replicas_are_of_the_release_that_serves_though_ray_was_started_by_another(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert other_python(tmp_path) is None, "whoever started it, there is one release alone"
    note_python(tmp_path)
    assert other_python(tmp_path) is None
    (tmp_path / "run" / "ray-python").write_text("/opt/appliance/releases/before/.venv/bin/python\n")
    python = other_python(tmp_path)
    assert python == sys.executable
    application = deployments.application(MODEL, (), "s", 0, "v", 1, None, surge=True, python=python)
    assert application._bound_deployment.ray_actor_options["runtime_env"] == {"py_executable": sys.executable}


async def test_a_process_that_ray_no_longer_tells_of_replicas_notices(endpoint: str, renew: Renew) -> None:
    state = _asked()
    assert not state.is_deaf(None)
    assert not state.is_deaf(_application("DEPLOYING", STARTING=1))
    assert state.is_deaf(_application("RUNNING", RUNNING=1))
    await state.described([_answer(_replica("a", endpoint))], RUNNING, renew)
    assert not state.is_deaf(_application("RUNNING", RUNNING=1))


async def test_a_start_says_what_it_does_and_why_it_failed() -> None:
    state = _asked()
    state.doing = "loading weights, 40 %"
    slow = _application("DEPLOYING")
    slow.deployments["Replica"].message = "1 replicas have taken more than 30s to initialize"
    await state.unheard(slow, _as_they_are)
    assert state.document()["message"] == "loading weights, 40 %"
    slow.deployments["Replica"].message = "Traceback ...\nValueError: there is no such parser"
    await state.unheard(slow, _as_they_are)
    assert state.document()["message"] == "ValueError: there is no such parser"
    await state.described([_answer(_replica("a"))], RUNNING, _as_they_are)
    assert state.document()["message"] == ""
