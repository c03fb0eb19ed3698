"""A certificate authority that speaks ACME, as Let's Encrypt does: Debian's pebble, on a host of its own."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

from tests.hosts.host import Host

NAME = "acme.test"
DIRECTORY = f"https://{NAME}:14000/dir"
FOLDER = "/srv/pebble"
SETTINGS = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
        "certificate": f"{FOLDER}/own.crt", "privateKey": f"{FOLDER}/own.key", "httpPort": 80, "tlsPort": 443,
    }
}  # fmt: skip
UNIT = f"""[Service]
Environment=PEBBLE_VA_NOSLEEP=1
ExecStart=/usr/bin/pebble -config {FOLDER}/settings.json
"""


def start(host: Host) -> str:
    """The certificate by which its own door is known. ``host`` has to know the names that it will be asked for."""
    host.run("apt-get", "update", seconds=120)
    host.run("apt-get", "install", "--yes", "--no-install-recommends", "pebble", "openssl", seconds=120)
    host.put(f"{FOLDER}/settings.json", json.dumps(SETTINGS))
    host.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-keyout", f"{FOLDER}/own.key", "-out", f"{FOLDER}/own.crt",
    )  # fmt: skip
    host.put("/etc/systemd/system/pebble.service", UNIT)
    host.run("systemctl", "start", "pebble")
    return host.run("cat", f"{FOLDER}/own.crt")


def serial(name: str, address: str, root: Path) -> str | None:
    """Of the certificate by which ``address`` is ``name``; None where it has none that ``root`` signed."""
    try:
        with (
            socket.create_connection((address, 443), timeout=5) as connection,
            ssl.create_default_context(cafile=str(root)).wrap_socket(connection, server_hostname=name) as secure,
        ):
            return str((secure.getpeercert() or {})["serialNumber"])
    except OSError:
        return None
