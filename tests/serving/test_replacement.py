"""Any process may die at any moment: the replica, and the engine inside it."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
import uuid
from typing import Any

import psutil
import pytest

from tests.record import Ordeal, record
from tests.serving.conftest import MODELS, SECRET, Node

pytestmark = pytest.mark.engine

ANSWER_TOKENS = 200
"""Of an answer that goes on for as long as it takes to look around."""


def _replica(node: Node) -> psutil.Process:
    host, _, port = node.endpoint().removeprefix("http://").rpartition(":")
    return next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp4")
        if connection.laddr == (host, int(port)) and connection.status == psutil.CONN_LISTEN and connection.pid
    )


def _complete(endpoint: str, request: str, tokens: int) -> Any:
    """The response, its stream still to be read."""
    body = {"model": "smollm2", "prompt": "Once", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    headers = {"x-cluster-secret": SECRET, "x-appliance-request": request, "content-type": "application/json"}
    return urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/v1/completions", json.dumps(body).encode(), headers), timeout=60
    )


def _meter(endpoint: str, request: str) -> dict[str, Any]:
    asked = urllib.request.Request(f"{endpoint}/meter/{request}", headers={"x-cluster-secret": SECRET})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _published_after(node: Node, moment: float, seconds: float = 30) -> None:
    deadline = time.time() + seconds
    while node.directory()["published_at"] < moment:
        assert time.time() < deadline
        time.sleep(0.1)


def test_a_restart_of_the_serving_process_touches_no_replica(node: Node) -> None:
    (before,) = node.model()["replicas"]
    node.serving.kill()
    record(Ordeal.KILLS)
    assert b"[DONE]" in _complete(before["endpoint"], str(uuid.uuid4()), 3).read()
    node.serving.start(MODELS.replace("0.40", "0.50"))  # a price is none of a replica's business
    until = time.monotonic() + 20
    while time.monotonic() < until:
        model = node.model()
        assert [(model["state"], replica["id"], replica["draining"]) for replica in model["replicas"]] == [
            ("ready", before["id"], False)
        ]
        time.sleep(0.2)
    _published_after(node, time.time())
    assert b"[DONE]" in _complete(before["endpoint"], str(uuid.uuid4()), 3).read()


def test_a_replica_ends_when_its_successor_answers_and_its_own_answers_are_finished(node: Node) -> None:
    (before,) = node.model()["replicas"]
    node.serving.kill()
    node.serving.start(MODELS.replace("queue_limit: 8", "queue_limit: 9", 1))
    answers: dict[str, Any] = {}
    running = ""
    while not _is_draining(node, before["id"]):
        if not running or _meter(before["endpoint"], running)["completion_tokens"] > ANSWER_TOKENS / 2:
            running = str(uuid.uuid4())
            answers[running] = _complete(before["endpoint"], running, ANSWER_TOKENS)
        time.sleep(0.2)
    assert {replica["draining"] for replica in node.model()["replicas"]} == {True, False}
    assert _meter(before["endpoint"], running)["state"] == "running"
    for answer in answers.values():
        assert b"[DONE]" in answer.read()
    node.wait("ready", 30, not_replica=before["id"])


def _is_draining(node: Node, replica_id: str) -> bool:
    return any(replica["id"] == replica_id and replica["draining"] for replica in node.model()["replicas"])


def test_a_killed_replica_is_replaced_and_its_engine_dies_with_it(node: Node) -> None:
    replica, name = _replica(node), node.model()["replicas"][0]["id"]
    family = replica.children(recursive=True)
    assert len(family) >= 2
    os.kill(replica.pid, signal.SIGKILL)
    record(Ordeal.KILLS)
    node.wait("starting", 10, not_replica=name)
    _, alive = psutil.wait_procs(family, timeout=3)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    node.wait("ready", 90, not_replica=name)


def test_a_killed_engine_replaces_the_replica(node: Node) -> None:
    replica, name = _replica(node), node.model()["replicas"][0]["id"]
    (engine,) = (process for process in replica.children(recursive=True) if "EngineCore" in process.name())
    os.kill(engine.pid, signal.SIGKILL)
    record(Ordeal.KILLS)
    node.wait("ready", 120, not_replica=name)


def test_a_replica_that_hangs_is_replaced(node: Node) -> None:
    replica, name = _replica(node), node.model()["replicas"][0]["id"]
    os.kill(replica.pid, signal.SIGSTOP)
    node.wait("ready", 180, not_replica=name)
    assert not replica.is_running() or replica.status() == psutil.STATUS_ZOMBIE
