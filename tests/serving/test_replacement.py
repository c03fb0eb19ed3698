"""Any process may die at any moment: the replica, and the engine inside it."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.serving.conftest import Node

pytestmark = pytest.mark.engine


def _replica(node: Node) -> psutil.Process:
    port = int(node.endpoint().rpartition(":")[2])
    return next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp4")
        if connection.laddr
        and connection.laddr.port == port
        and connection.status == psutil.CONN_LISTEN
        and connection.pid
    )


def test_a_killed_replica_is_replaced_and_its_engine_dies_with_it(node: Node) -> None:
    replica, name = _replica(node), node.model()["replicas"][0]["id"]
    family = replica.children(recursive=True)
    assert len(family) >= 2
    os.kill(replica.pid, signal.SIGKILL)
    assert node.wait("starting", 10, not_replica=name) < 4
    _, alive = psutil.wait_procs(family, timeout=3)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    node.wait("ready", 90, not_replica=name)


def test_a_killed_engine_replaces_the_replica(node: Node) -> None:
    replica, name = _replica(node), node.model()["replicas"][0]["id"]
    engine = max(replica.children(recursive=True), key=lambda process: process.memory_info().rss)
    os.kill(engine.pid, signal.SIGKILL)
    node.wait("ready", 120, not_replica=name)
