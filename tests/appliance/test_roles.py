"""What the roles of Ansible promise and can be seen without a host."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

ANSIBLE = Path(__file__).parent.parent.parent / "ansible"
OF_SETS = re.compile(r"\b(difference|union|intersect|symmetric_difference)\(")
SECRET = re.compile(r"secret|password|passphrase|database_url|mongo_uri|_key\b", re.IGNORECASE)


def tasks() -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(ANSIBLE.glob("roles/*/tasks/*.yml")):
        yield from ((file, task) for task in flat(yaml.safe_load(file.read_text())))


def flat(some: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in some:
        yield task
        yield from flat(task.get("block", []))


def named(role: str, part: str, name: str) -> int:
    """The place of a task in its file."""
    found = yaml.safe_load((ANSIBLE / f"roles/{role}/tasks/{part}.yml").read_text())
    return [task["name"] for task in found].index(name)


def test_no_secret_is_on_a_command_line() -> None:
    """Ansible puts `environment` before the command, where every user of the machine sees it."""
    seen = [(file, task["environment"]) for file, task in tasks() if "environment" in task]
    assert len(seen) > 2
    assert not [
        (file.name, value) for file, value in seen if SECRET.search(str(value).replace("DATABASE_URL", ""))
    ]


def test_who_was_deleted_is_deleted_from_a_restored_chat_before_it_starts() -> None:
    site = yaml.safe_load((ANSIBLE / "site.yml").read_text())
    roles = [[role["role"] for role in play.get("roles", [])] for play in site]
    [chat] = [play for play, those in zip(site, roles, strict=True) if "librechat" in those]
    asked = [task["ansible.builtin.include_role"] for task in chat["pre_tasks"]]
    assert ("backup", "forget.yml") in [(one["name"], one["tasks_from"]) for one in asked]
    assert next(n for n, those in enumerate(roles) if "appliance" in those) < site.index(chat)


def test_a_drill_looks_at_the_machine_before_it_removes_anything() -> None:
    assert named("backup", "drill", "Require that it is not") < named(
        "backup", "drill", "Remove what an earlier drill left"
    )


@pytest.mark.parametrize("days", range(9, 40))
def test_no_backup_is_kept_for_longer_than_was_promised(days: int) -> None:
    """The oldest full one goes once the next, a week later, is older than its retention, and a run comes."""
    found = yaml.safe_load((ANSIBLE / "roles/backup/vars/main.yml").read_text())
    full, hours = (
        int(Environment(autoescape=True).from_string(found[name]).render(backup_keep_days=days))
        for name in ("backup_full_days", "backup_keep_hours")
    )
    assert full + 7 + 1 <= days
    assert hours + 25 <= days * 24


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.0.0.1", True), ("127.0.0.1", True), ("172.16.0.1", True), ("172.31.9.9", True), ("192.168.1.1", True),
        ("100.64.0.1", True), ("100.127.255.1", True), ("fd00:213::1", True), ("FC12::1", True), ("::1", True),
        ("1.10.0.1", False), ("101.0.0.1", False), ("172.15.0.1", False), ("172.32.0.1", False),
        ("192.169.0.1", False), ("100.63.0.1", False), ("100.128.0.1", False), ("203.0.113.10", False),
        ("2001:db8::1", False), ("fe80::1", False), ("::1:2", False), ("fd::1", False),
    ],
)  # fmt: skip
def test_a_node_has_a_private_address(address: str, private: bool) -> None:
    """What passes between nodes is not encrypted."""
    pattern = yaml.safe_load((ANSIBLE / "roles/preflight/vars/main.yml").read_text())["preflight_private"]
    assert (re.match(pattern, address) is not None) == private
    network = ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "::1")
    it = ipaddress.ip_address(address)
    assert any(it in ipaddress.ip_network(one) for one in network) == private


def test_what_is_written_is_in_the_same_order_with_each_run() -> None:
    """Filters of sets give another order each time: a second run would change what is there."""
    files = [
        file
        for part in ("defaults", "vars", "handlers", "templates")
        for file in ANSIBLE.glob(f"roles/*/{part}/*")
    ]
    lines = [line for file in files for line in file.read_text().splitlines() if OF_SETS.search(line)]
    assert lines
    assert [line for line in lines if "| sort" not in line] == []
