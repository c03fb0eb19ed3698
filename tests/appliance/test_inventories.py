"""The inventories that an operator copies: they have the groups that the playbooks know, and no secret."""

from pathlib import Path
from typing import Any

import pytest
import yaml

INVENTORIES = Path(__file__).parent.parent.parent / "ansible/inventories"
each = pytest.mark.parametrize("inventory", sorted(INVENTORIES.iterdir()), ids=lambda one: one.name)


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


@each
def test_it_has_one_first_node_and_all_nodes_in_one_group(inventory: Path) -> None:
    groups = read(inventory / "hosts.yml")["all"]["children"]
    assert len(groups["first"]["hosts"]) == 1
    assert set(groups["nodes"]["children"]) == {"first", "workers"}
    hosts = groups["first"]["hosts"] | groups["workers"]["hosts"]
    assert len(hosts) == 1 or all("node_address" in host for host in hosts.values())


@each
def test_it_names_each_secret_and_gives_none_a_value(inventory: Path) -> None:
    secrets = read(inventory / "group_vars/all/vault.example.yml")
    assert {"stripe_api_key", "stripe_webhook_secret"} <= set(secrets)
    assert set(secrets.values()) <= {None, ""}
    assert not set(secrets) & set(read(inventory / "group_vars/all/main.yml"))


def test_all_of_them_ask_for_the_same() -> None:
    texts = [
        tuple((one / "group_vars/all" / name).read_text() for name in ("main.yml", "vault.example.yml"))
        for one in INVENTORIES.iterdir()
    ]
    assert len(set(texts)) == 1
