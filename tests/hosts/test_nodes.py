"""Three hosts as one cluster: joined by the inventory alone, one cut off under load, a stranger kept out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.host import Host
from tests.hosts.product import (
    API,
    POSTGRESQL,
    answers,
    asked,
    books_agree,
    curl,
    customer,
    load,
    models,
    status,
    wait,
    wait_until_ready,
)
from tests.hosts.releases import Control, binds, install_environment, workshop
from tests.hosts.systems import system

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]

PLAYBOOK = "test.yml"
RELEASE = "/opt/appliance/releases/v1"
PASSWORD = "not-secret-here"
REPLICAS = 2
CUT_OFF_SECONDS = 75
TELLS_RAY = f"{RELEASE}/.venv/bin/python {RELEASE}/.venv/bin/ray status --address"


def on_the_private_network(address: str) -> list[dict[str, Any]]:
    """PostgreSQL for the other nodes too."""
    rule = f"host appliance appliance {address.rpartition('.')[0]}.0/24 scram-sha-256"
    return [
        *POSTGRESQL,
        {
            "name": "Listen for the nodes",
            "ansible.builtin.copy": {
                "content": f"listen_addresses = '{address}'\n", "mode": "0644",
                "dest": f"/etc/postgresql/{system().postgresql}/main/conf.d/nodes.conf",
            },
            "notify": "Restart PostgreSQL",
        },
        {
            "name": "Let them in",
            "ansible.builtin.lineinfile": {
                "path": f"/etc/postgresql/{system().postgresql}/main/pg_hba.conf", "line": rule,
            },
            "notify": "Restart PostgreSQL",
        },
        {
            "name": "With a password",
            "ansible.builtin.command": {
                "argv": ["psql", "-c", f"ALTER ROLE appliance PASSWORD '{PASSWORD}'"], "chdir": "/",
            },
            "become_user": "postgres",
            "changed_when": False,
        },
    ]  # fmt: skip


@pytest.fixture(scope="module")
def control(new_host: Callable[..., Host], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Control:
    """The release is installed by the first host alone; the others have its folder, as if they had done it."""
    first = new_host("first", *binds())
    made = workshop(repository, tmp_path_factory.mktemp("workshop") / "clone")
    restart = {
        "name": "Restart PostgreSQL",
        "ansible.builtin.systemd_service": {"name": system().database_unit, "state": "restarted"},
    }
    services = {"become": True, "roles": ["ray", "appliance"]}
    made.playbook("install.yml", [
        {"name": "The release", "hosts": "first", "become": True, "tasks": [
            {"name": "Put it there",
             "ansible.builtin.include_role": {"name": "appliance", "tasks_from": "release.yml"}},
        ]},
    ])  # fmt: skip
    made.playbook(PLAYBOOK, [
        {"name": "The database", "hosts": "first", "become": True,
         "tasks": on_the_private_network(first.address), "handlers": [restart]},
        {"name": "The first node", "hosts": "first", **services},
        {"name": "The others", "hosts": "workers", **services},
    ])  # fmt: skip
    made.release("v1")
    variables = {
        "domain": "example.test", "operator_name": "Example AS", "operator_mail": "post@example.test",
        "gpu": False, "appliance_device": "cpu", "models": models(), "release": "v1",
        "database_url": f"postgresql://appliance:{PASSWORD}@{first.address}/appliance",
        "appliance_install_environment": install_environment(first),
    }  # fmt: skip
    alone = Control(made, {"first": [first], "workers": [], "nodes": [first]}, variables)
    alone.converge("install.yml")
    workers = [new_host(name, *binds(), f"--bind={first.root}{RELEASE}:{RELEASE}") for name in ("left", "right")]
    nodes = [first, *workers]
    cluster = replace(
        alone,
        groups={"first": [first], "workers": workers, "nodes": nodes},
        own={host.name: {"node_address": host.address} for host in nodes},
    )
    cluster.converge(PLAYBOOK)
    wait_until_ready(first)
    # Replicas that start together take turns on the nodes; earlier ones stay where they are.
    others = models(REPLICAS)
    others[0]["engine_args"]["max_num_seqs"] = 24
    grown = replace(cluster, variables={**variables, "models": others})
    grown.play(PLAYBOOK, "--limit", first.name)
    return grown


@pytest.fixture(scope="module")
def nodes(control: Control) -> list[Host]:
    """The first one, then the others."""
    return list(control.groups["nodes"])


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


def test_nodes_join_by_the_inventory_alone(control: Control, nodes: list[Host]) -> None:
    first, *others = nodes
    wait(first, "both replicas answer", lambda: len(replicas(first)) == REPLICAS, 400)
    where = {address_of(one) for one in replicas(first)}
    assert len(where) == REPLICAS, f"{where}: each is on a node of its own"
    key = customer(first, "acme")
    for node in nodes:
        wait(node, "its gateway answers", partial(answers, node, key))
        assert status(first, f"http://{node.address}:8000/livez") == 200, "a proxy reaches each gateway"
    for node in others:
        assert node.run("systemctl", "is-active", "appliance-site.service", check=False) != "active\n"
        assert len(replicas(node)) == REPLICAS
    assert set(control.converge(PLAYBOOK).changed.values()) == {0}


def test_who_has_not_the_clusters_secrets_gets_nowhere(nodes: list[Host]) -> None:
    first, stranger = nodes[0], nodes[2]
    gcs = f"{first.address}:6379"

    def ray(token: str, mode: str = "token") -> tuple[int, str]:
        said = stranger.ssh(
            f"RAY_AUTH_MODE={mode} RAY_AUTH_TOKEN={token} timeout 60 {TELLS_RAY} {gcs} 2>&1", seconds=90
        )
        return said.returncode, said.stdout.decode()

    right = first.run("cat", "/var/lib/appliance/secrets/ray_token").strip()
    assert ray(right)[0] == 0, "whoever has it gets in, so the others are kept out by it"
    for token, mode in (("f" * len(right), "token"), ("", "disabled")):
        code, said = ray(token, mode)
        assert code != 0, said
    for replica in replicas(first):
        for path in ("/v1/models", "/metrics", "/health", "/v1/chat/completions"):
            assert status(stranger, f"{replica['endpoint']}{path}") in (401, 403, 404), path


def test_a_node_that_is_cut_off_under_load_is_no_end_of_the_service(nodes: list[Host]) -> None:
    first, *others = nodes
    where = {address_of(one) for one in replicas(first)}
    (lost,) = (one for one in others if one.address in where)
    key = customer(first, "busy")
    with load(first, key) as seen:
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
    print(f"answers {len(report['usage'])}, {after} while it was away; dropped {report['dropped']}")  # noqa: T201
    assert after > CUT_OFF_SECONDS / 5
    begun = [one for one in report["dropped"] if "ClientPayloadError" in one or "it ends with" in one]
    assert begun == report["dropped"], "only what the lost replica had begun to write"
    books_agree(first, "busy", report["usage"], broken_off=len(begun))


def test_the_node_that_was_away_answers_again(nodes: list[Host]) -> None:
    first, *others = nodes
    key = str(asked(first, "key", "create", "acme")["key"])
    for node in others:
        wait(node, "its gateway answers", partial(answers, node, key))
    assert "smollm2" in curl(first, f"{API}/v1/models", "--header", f"authorization: Bearer {key}")
