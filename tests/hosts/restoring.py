"""What the tests of databases and backups share: plays on hosts, and our own program there."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import secrets
from tests.hosts.host import Host
from tests.hosts.image import cache
from tests.hosts.machine import command
from tests.hosts.playbook import ROOT, Played, converge, write_inventory
from tests.hosts.systems import system

PACKAGES, CODE = "/opt/tried/packages", "/opt/tried/code"
"""Where a host sees the packages that our program needs, and this clone."""

INSTALLED = "/opt/appliance/current/.venv/bin/appliance"
NEEDED = (
    "alembic", "asyncpg", "babel", "email-validator", "httpx", "msgspec", "prometheus-client", "psutil",
    "pwdlib[argon2]", "pymongo", "pyyaml", "rich", "secantusdb", "sqlalchemy[asyncio]", "stripe", "typer",
)  # fmt: skip
"""Of the locks, where a host has another Python than these tests."""

PYTHON = f"PYTHONPATH={CODE}:{PACKAGES} PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3"
"""The host's own Python with these, behind ``env``."""

PROGRAM = f"""#!/bin/sh
exec env {PYTHON} -m appliance "$@"
"""

COMMAND = """#!/bin/sh
# As the role appliance installs it.
export APPLIANCE_HOME=/var/lib/appliance DATABASE_URL='postgresql://appliance@/appliance?host=/run/postgresql'
export APPLIANCE_CONFIG=/etc/appliance/appliance.yaml
export MONGO_URI=$(sed 's/^uri: "//; s/"$//' /etc/appliance/backup/mongodump.yaml)
exec setpriv --reuid=appliance --regid=appliance --clear-groups /opt/appliance/current/.venv/bin/appliance "$@"
"""
SETTINGS = """site: {name: Tried, contact: ops@llm.example.com, address: 'https://llm.example.com'}
chat: {address: 'https://chat.llm.example.com', uploads: /var/lib/librechat/uploads}
"""


def binds() -> list[str]:
    """So that a host has our program without installing it."""
    return [f"--bind-ro={packages()}:{PACKAGES}", f"--bind-ro={ROOT}:{CODE}"]


def packages() -> Path:
    """For the Python of the run's system: those of these tests, or the same versions for another Python."""
    python = system().python
    if python == platform.python_version().rpartition(".")[0]:
        return Path(sysconfig.get_path("purelib"))
    folder = cache() / f"python-{python}"
    locks = [word for name in ("cpu", "dev") for word in ("--constraints", ROOT / f"requirements/{name}.txt")]
    uv = Path(sys.executable).with_name("uv")
    command(
        uv, "pip", "install", "--quiet", "--only-binary=:all:", f"--python-version={python}", f"--target={folder}",
        *locks, *NEEDED, seconds=300,
    )  # fmt: skip
    return folder


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


def put_program(host: Host) -> None:
    """The command ``appliance``, on a host that has what ``binds`` says."""
    host.put(INSTALLED, PROGRAM, mode=0o755)
    host.put("/usr/local/sbin/appliance", COMMAND, mode=0o755)


def put_state(host: Host, folder: Path) -> None:
    """What the role ``appliance`` leaves on a first node: its user, settings, and secrets (in ``folder``, too)."""
    host.run("useradd", "--system", "appliance")
    host.put("/etc/appliance/appliance.yaml", SETTINGS)
    secrets.create(folder / "secrets")
    for file in (folder / "secrets").iterdir():
        host.put(f"/var/lib/appliance/secrets/{file.name}", file, mode=0o600)
    host.run("chown", "-R", "appliance:appliance", "/var/lib/appliance")


def appliance(host: Host, *arguments: str) -> str:
    return host.run("/usr/local/sbin/appliance", *arguments)


def person(host: Host, email: str) -> str:
    """An account with credit and a person. Returns what the chat knows the person by."""
    appliance(host, "account", "create", email)
    appliance(host, "credit", "grant", email, "5.25")
    insert = (
        "INSERT INTO person (account_id, email, email_key, name, language, created_at)"
        f" SELECT id, name, name, name, 'en', now() FROM account WHERE name = '{email}' RETURNING subject"
    )
    return psql(host, insert)


def now(host: Host) -> str:
    """As the database has it."""
    return psql(host, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")


def books(host: Host, until: str) -> dict[str, object]:
    """The digest of everything before that moment."""
    said = appliance(host, "ledger", "verify", "--seal", f"--until={until}", "--json")
    found: dict[str, object] = json.loads(said)["books"]
    return found
