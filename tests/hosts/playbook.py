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
from tests.record import Ordeal, record

ROOT = Path(__file__).parent.parent.parent
ANSIBLE = ROOT / "ansible"
PLAY_SECONDS = 1500
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """``changed`` is the number of changed tasks by host; ``status`` is Ansible's own, 0 when nothing failed."""

    status: int
    output: str
    changed: Mapping[str, int]

    @property
    def said(self) -> str:
        """The output as one line: Ansible breaks long sentences."""
        return " ".join(self.output.split())

    @property
    def changes(self) -> list[str]:
        """The tasks that changed something."""
        task, found = "", []
        for line in self.output.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.rstrip(" *")
            elif line.startswith("changed: ["):
                found.append(f"{task} {line}")
        return found


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
    """Of a cluster, with the groups that the playbooks know."""
    groups = {"first": [first], "workers": workers, "nodes": [first, *workers]}
    return write_inventory(folder, groups, variables, of_each or {})


def write_inventory(
    folder: Path,
    groups: Mapping[str, Sequence[Host]],
    variables: Mapping[str, object],
    of_each: Mapping[str, Mapping[str, object]],
) -> Path:
    """``hosts.yml`` in ``folder``. ``variables`` are everybody's, ``of_each`` those of a host by its name."""

    def listed(hosts: Sequence[Host]) -> dict[str, object]:
        return {"hosts": {host.name: reached(host) | dict(of_each.get(host.name, {})) for host in hosts}}

    children = {name: listed(hosts) for name, hosts in groups.items()}
    file = folder / "hosts.yml"
    file.parent.mkdir(exist_ok=True)
    document = {"all": {"children": children, "vars": dict(variables)}}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def reached(host: Host) -> dict[str, object]:
    """How Ansible reaches it."""
    return {
        "ansible_host": host.address,
        "ansible_user": "root",
        "ansible_ssh_common_args": " ".join(host.ssh_options()),
    }


def play(
    inventory_file: Path,
    playbook: str | Path,
    *arguments: str,
    ansible: Path = ANSIBLE,
    seconds: float = PLAY_SECONDS,
) -> Played:
    """Runs ``playbook``, which is below ``ansible``, or a file of a test's own.

    ``ansible`` is a clone's folder of that name: its settings count, and paths in ``arguments`` begin there.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"ANSIBLE_CONFIG": str(ansible / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
    record(Ordeal.CONVERGES)
    done = subprocess.run(
        [program(), "-i", str(inventory_file), *arguments, str(ansible / playbook)],
        env=environment, cwd=ansible, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    return Played(done.returncode, output, {host: int(changed) for host, changed in RECAP.findall(output)})


def converge(
    inventory_file: Path,
    playbook: str | Path,
    *arguments: str,
    ansible: Path = ANSIBLE,
    seconds: float = PLAY_SECONDS,
) -> Played:
    """The same, and it has to succeed."""
    return succeeded(play(inventory_file, playbook, *arguments, ansible=ansible, seconds=seconds))


def succeeded(played: Played) -> Played:
    """Raises AssertionError with what Ansible said last unless it did all that it was asked."""
    assert played.status == 0, played.output[-12000:]
    return played
