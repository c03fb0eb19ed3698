"""Ansible as an operator runs it: an inventory of hosts, a playbook, and what its recap says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.hosts.host import Host

ROOT = Path(__file__).parent.parent.parent
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """``changed`` is the number of changed tasks by host."""

    status: int
    output: str
    changed: Mapping[str, int]


def program() -> str:
    """``ansible-playbook``. Raises RuntimeError where there is none."""
    own = ROOT / ".venv-ansible/bin/ansible-playbook"
    found = str(own) if own.exists() else shutil.which("ansible-playbook")
    if found is None:
        raise RuntimeError("there is no ansible-playbook: make install-ansible")
    return found


def inventory(
    folder: Path,
    first: Host,
    workers: Sequence[Host] = (),
    *,
    of_each: Mapping[str, Mapping[str, object]] | None = None,
    **variables: object,
) -> Path:
    """``variables`` are everybody's, ``of_each`` those of a host by its name."""

    def listed(hosts: Sequence[Host]) -> dict[str, object]:
        return {host.name: reached(host) | dict((of_each or {}).get(host.name, {})) for host in hosts}

    file = folder / "hosts.yml"
    groups = {
        "first": {"hosts": listed([first])},
        "workers": {"hosts": listed(workers)},
        "nodes": {"children": {"first": {}, "workers": {}}},
    }
    file.write_text(yaml.safe_dump({"all": {"children": groups, "vars": variables}}))
    return file


def reached(host: Host) -> dict[str, object]:
    return {
        "ansible_host": host.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(host.network.key),
        "ansible_ssh_common_args": " ".join(host.ssh_options()[2:]),
    }


def play(inventory_file: Path, playbook: str | Path, *arguments: str, seconds: float = 900) -> Played:
    """``playbook`` is below ``ansible/``, or a file of a test's own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [program(), "-i", str(inventory_file), str(ROOT / "ansible" / playbook), *arguments],
        env=environment
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible/ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, timeout=seconds, check=False, cwd=inventory_file.parent,
    )  # fmt: skip
    output = done.stdout + done.stderr
    return Played(
        done.returncode, output, {name: int(changed) for name, _, changed, _, _ in RECAP.findall(output)}
    )


def converge(inventory_file: Path, playbook: str | Path, *arguments: str, seconds: float = 900) -> Played:
    """The same, required to succeed."""
    played = play(inventory_file, playbook, *arguments, seconds=seconds)
    if played.status != 0:
        raise RuntimeError(f"{playbook} failed:\n{played.output[-12000:]}")
    return played
