"""Chapter 6: two machines join by the inventory alone, one is cut off under load, strangers are kept out."""

from __future__ import annotations

import json
import time
from collections.abc import Set
from functools import partial
from typing import Any

import pytest

from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.product import (
    API,
    answers,
    asked,
    books_agree,
    customer,
    in_network_of,
    load,
    models,
    status,
    wait,
)
from tests.hosts.scanning import scan
from tests.hosts.story.operator import PUBLIC, READY_SECONDS, Operator

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]

REPLICAS = 2
SEATS = (24, 20, 28, 18, 30)
"""Requests at once in a replica: another number makes new ones."""

CUT_OFF_SECONDS = 75
OF_THE_FIRST = {"Ray": 6379, "PostgreSQL": 5432}
OF_THE_OTHERS = {"gateway": 8000, "node exporter": 9100, "DCGM exporter": 9400}
"""Ports for the cluster's own nodes."""

RAY = "/opt/appliance/current/.venv/bin/python /opt/appliance/current/.venv/bin/ray status --address"


@pytest.fixture(scope="module")
def nodes(operator: Operator, key: str, figure: Figure) -> list[Host]:
    """The first one, then the others."""
    workers = [operator.buy("gpu2"), operator.buy("gpu3")]
    operator.nodes(operator.first, *workers)
    began = time.monotonic()
    operator.converge("site.yml")
    figure("Ansible's run by which two nodes join, seconds", round(time.monotonic() - began))
    wait(operator.first, "answers come again", lambda: operator.answers(key), READY_SECONDS)
    return [operator.first, *workers]


@pytest.fixture(scope="module")
def spread(operator: Operator, nodes: list[Host]) -> None:
    """Two replicas on two nodes. Ray places them as it likes: until it does, they are made anew."""
    for seats in SEATS:
        earlier = {one["id"] for one in replicas(operator.first)}
        wanted = models(REPLICAS)
        wanted[0]["engine_args"]["max_num_seqs"] = seats
        operator.says(models=wanted)
        operator.converge("site.yml", f"--limit={operator.first.name}", "--tags=appliance")
        wait(operator.first, "both new ones answer", partial(replaced, operator.first, earlier), 400)
        if len({address_of(one) for one in replicas(operator.first)}) == REPLICAS:
            return
    raise AssertionError(f"{len(SEATS)} times Ray has put both replicas on one node")


def replaced(host: Host, earlier: Set[str]) -> bool:
    found = {one["id"] for one in replicas(host)}
    return len(found) == REPLICAS and not found & earlier


def replicas(host: Host) -> list[dict[str, Any]]:
    """That take requests, as the node knows them."""
    try:
        directory = json.loads(host.run("cat", "/var/lib/appliance/run/directory.json"))
        found: list[dict[str, Any]] = directory["models"]["smollm2"]["replicas"]
    except (RuntimeError, ValueError, KeyError):
        return []
    return [one for one in found if not one["draining"]]


def address_of(replica: dict[str, Any]) -> str:
    return str(replica["endpoint"]).removeprefix("http://").rpartition(":")[0]


def test_nodes_join_by_the_inventory_alone(operator: Operator, key: str, nodes: list[Host]) -> None:
    first, *others = nodes
    for node in nodes:
        wait(node, "its gateway answers", partial(answers, node, key))
    for node in others:
        assert status(first, f"http://{node.address}:8000/livez") == 200, "Caddy reaches each gateway"
        assert not node.runs("appliance-site.service")
        assert node.run("ls", "/etc/appliance/environment", "/var/lib/appliance/secrets").split() == [
            "/etc/appliance/environment:", "common", "database",
            "/var/lib/appliance/secrets:", "cache_salt", "cluster_secret", "key_pepper", "ray_token",
        ], "it has what it opens something with, and no more"  # fmt: skip
    again = operator.converge("site.yml")
    assert set(again.changed.values()) == {0}, again.changes
    first.run("appliance", "ledger", "verify")


def test_the_world_reaches_no_more_than_before(operator: Operator, nodes: list[Host]) -> None:
    first, second, _ = nodes
    scan(operator.net, first, PUBLIC["tcp"], PUBLIC["udp"])
    scan(operator.net, second, [22], [])
    for name, port in OF_THE_FIRST.items():
        assert connects(second, first.address, port), name
    for name, port in OF_THE_OTHERS.items():
        assert connects(first, second.address, port), name


def connects(host: Host, address: str, port: int) -> bool:
    code = f"import socket; socket.create_connection(('{address}', {port}), 5)"
    return host.ssh(f'python3 -c "{code}"').returncode == 0


@pytest.mark.usefixtures("spread")
def test_who_has_not_the_clusters_secrets_gets_nowhere(nodes: list[Host]) -> None:
    first, _, stranger = nodes
    gcs = f"{first.address}:6379"

    def ray(token: str, mode: str = "token") -> tuple[int, str]:
        said = stranger.ssh(f"RAY_AUTH_MODE={mode} RAY_AUTH_TOKEN={token} timeout 60 {RAY} {gcs} 2>&1", seconds=90)
        return said.returncode, said.stdout.decode()

    right = first.run("cat", "/var/lib/appliance/secrets/ray_token").strip()
    assert ray(right)[0] == 0, "whoever has it gets in, so the others are kept out by it"
    for token, mode in (("f" * len(right), "token"), ("", "disabled")):
        code, said = ray(token, mode)
        assert code != 0, said
    for replica in replicas(first):
        for path in ("/v1/models", "/metrics", "/health", "/v1/chat/completions"):
            assert status(stranger, f"{replica['endpoint']}{path}") in (401, 403, 404), path


@pytest.mark.usefixtures("spread")
def test_a_node_that_is_cut_off_under_load_is_no_end_of_the_service(nodes: list[Host], figure: Figure) -> None:
    first, *others = nodes
    where = {address_of(one) for one in replicas(first)}
    lost = next(one for one in others if one.address in where)
    busy = customer(first, "steady")
    with load(in_network_of(first), busy) as seen:
        time.sleep(15)
        lost.cut_off()
        cut_at = time.time()
        time.sleep(CUT_OFF_SECONDS)
        lost.heal()
        wait(first, "it is a node again", lambda: status(first, f"http://{lost.address}:8000/livez") == 200, 120)
        wait(first, "both replicas answer again", lambda: len(replicas(first)) == REPLICAS, 400)
        time.sleep(5)
    report = seen.report
    after = sum(1 for end in report["ends"] if cut_at + 10 < end < cut_at + CUT_OFF_SECONDS)
    figure("answers while one of three nodes was cut off", f"{after} of {len(report['usage'])} in all")
    figure("answers that the lost node had begun", len(report["dropped"]))
    assert after > CUT_OFF_SECONDS / 5
    begun = [one for one in report["dropped"] if "ClientPayloadError" in one or "it ends with" in one]
    assert begun == report["dropped"], "only what the lost replica had begun to write"
    books_agree(first, "steady", report["usage"], broken_off=len(begun))


@pytest.mark.usefixtures("spread")
def test_the_node_that_was_away_answers_again(nodes: list[Host]) -> None:
    first, *others = nodes
    own = str(asked(first, "key", "create", "steady")["key"])
    for node in others:
        wait(node, "its gateway answers", partial(answers, node, own))
        assert len(replicas(node)) == REPLICAS
    assert status(first, f"{API}/readyz") == 200
