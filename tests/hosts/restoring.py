"""What the tests of databases and backups share: plays on hosts, and our own program there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.host import Host

ROOT = Path(__file__).parent.parent.parent
ANSIBLE_SECONDS = 600
PACKAGES, CODE = "/opt/tried/packages", "/opt/tried/code"
"""Where a host sees the packages that these tests run with, and this clone."""

PYTHON = f"PYTHONPATH={CODE}:{PACKAGES} PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3"
"""The host's own Python with these, behind ``env``."""

PROGRAM = f"""#!/bin/sh
exec env {PYTHON} -m appliance "$@"
"""


def binds() -> list[str]:
    """So that a host has our program without installing it: its Python has to be of the same version."""
    return [f"--bind-ro={sysconfig.get_path('purelib')}:{PACKAGES}", f"--bind-ro={ROOT}:{CODE}"]


@dataclass
class Converged:
    """What a run of ``ansible-playbook`` changed, by host, and what it said."""

    changed: dict[str, int]
    said: str


@dataclass
class Site:
    """An inventory of test hosts with the variables that all of them have."""

    folder: Path
    variables: Mapping[str, Any]
    groups: dict[str, list[Host]] = field(default_factory=dict)

    def play(
        self, playbook: Path | Sequence[Mapping[str, Any]], *arguments: str, seconds: float = ANSIBLE_SECONDS
    ) -> Converged:
        """A playbook's file, or its plays. Raises AssertionError with all that it said when it fails."""
        inventory, file = self.folder / "inventory.json", self.folder / "play.json"
        inventory.write_text(json.dumps(self._inventory()))
        if not isinstance(playbook, Path):
            file.write_text(json.dumps(playbook))
        done = subprocess.run(
            [ansible(), "-i", str(inventory), str(playbook if isinstance(playbook, Path) else file), *arguments],
            capture_output=True, text=True, timeout=seconds, check=False,
            env=os.environ | {
                "ANSIBLE_ROLES_PATH": str(ROOT / "ansible/roles"), "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0",
            },
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
        found = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", done.stdout, re.MULTILINE)
        return Converged({host: int(changed) for host, changed in found}, done.stdout)

    def _inventory(self) -> dict[str, Any]:
        hosts = {host.name: host for group in self.groups.values() for host in group}
        children: dict[str, dict[str, dict[str, dict[str, str]]]] = {
            name: {"hosts": {host.name: {} for host in group}} for name, group in self.groups.items() if group
        }
        return {
            "all": {
                "vars": dict(self.variables),
                "hosts": {name: self._reached(host) for name, host in hosts.items()},
                "children": children,
            }
        }

    @staticmethod
    def _reached(host: Host) -> dict[str, str]:
        return {
            "ansible_host": host.address,
            "node_address": host.address,
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(host.ssh_options()),
        }


def ansible() -> str:
    """The program. Fails where it is not installed."""
    beside = ROOT / ".venv-ansible/bin/ansible-playbook"
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if found is None:
        pytest.fail("ansible-playbook is not installed, or not in PATH", pytrace=False)
    return found


def role(name: str, *, on: str = "first", tasks: str = "main", **variables: Any) -> dict[str, Any]:
    """A play of one role."""
    include = {"ansible.builtin.include_role": {"name": name, "tasks_from": f"{tasks}.yml"}, "vars": variables}
    return {"hosts": on, "become": True, "tasks": [include]}


def changed_lines(converged: Converged) -> Iterator[str]:
    """What was changed, with the task before each."""
    task = ""
    for line in converged.said.splitlines():
        if line.startswith("TASK"):
            task = line
        elif line.startswith("changed:"):
            yield f"{task} {line}"


def psql(host: Host, statement: str, *, user: str = "postgres", database: str = "appliance") -> str:
    """As a user of the host, over the socket."""
    line = ("runuser", "-u", user, "--", "psql", "-XAtqc", statement, database)
    return host.run(*line).strip()
