"""What the tests of databases and backups share: plays on hosts, and our own program there."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.host import Host
from tests.hosts.playbook import ROOT, Played, converge, write_inventory

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
class Site:
    """An inventory of test hosts with the variables that all of them have."""

    folder: Path
    variables: Mapping[str, Any]
    groups: dict[str, list[Host]] = field(default_factory=dict)

    def converge(self, playbook: str | Sequence[Mapping[str, Any]], *arguments: str) -> Played:
        """A playbook's name, or its plays. Raises AssertionError with all that it said when it fails."""
        own = {host.name: {"node_address": host.address} for group in self.groups.values() for host in group}
        inventory = write_inventory(self.folder, self.groups, self.variables, own)
        if isinstance(playbook, str):
            return converge(inventory, playbook, *arguments)
        file = self.folder / "play.json"
        file.write_text(json.dumps(playbook))
        return converge(inventory, file, *arguments)


def role(name: str, *, on: str = "first", tasks: str = "main", **variables: Any) -> dict[str, Any]:
    """A play of one role."""
    include = {"ansible.builtin.include_role": {"name": name, "tasks_from": f"{tasks}.yml"}, "vars": variables}
    return {"hosts": on, "become": True, "tasks": [include]}


def psql(host: Host, statement: str, *, user: str = "postgres", database: str = "appliance") -> str:
    """As a user of the host, over the socket."""
    line = ("runuser", "-u", user, "--", "psql", "-XAtqc", statement, database)
    return host.run(*line).strip()
