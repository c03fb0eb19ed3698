"""A machine for backups that is reached by SFTP alone, as providers rent them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hosts.host import Host
from tests.hosts.machine import command

PORT = 2222
USER = "backups"
SETTINGS = f"""Port 22
Port {PORT}
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u
Match User {USER}
    ChrootDirectory /srv
    ForceCommand internal-sftp
    AllowTcpForwarding no
"""
LISTEN = "systemctl daemon-reload && systemctl try-restart ssh.socket ssh.service"


def place(host: Host, folder: Path) -> dict[str, Any]:
    """Makes it on ``host``, with a key in ``folder``. Returns the variables by which a first node reaches it."""
    key = folder / "backup_key"
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    host.run("useradd", "--home-dir", "/srv", "--no-create-home", USER)
    host.put(f"/etc/ssh/keys/{USER}", key.with_suffix(".pub"))
    host.put("/etc/ssh/sshd_config.d/backups.conf", SETTINGS)
    host.run("install", "--directory", "--owner", USER, "--mode", "0700", "/srv/backups")
    host.run("sh", "-c", LISTEN)
    known = command("ssh-keyscan", "-p", str(PORT), host.address)
    there = {"type": "sftp", "host": host.address, "port": PORT, "user": USER, "path": "/backups"}
    return {"backup_to": {**there, "host_key": known}, "backup_ssh_key": key.read_text().strip()}


def becomes_another(host: Host) -> None:
    """At the same address, with keys of its own. Nothing more can be run on it."""
    host.run("sh", "-c", f"rm /etc/ssh/ssh_host_* && ssh-keygen -A && {LISTEN}")
