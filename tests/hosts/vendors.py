"""What vendors' repositories have and cannot be had here: packages of the same names that do next to nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests import caddy
from tests.hosts.host import Host
from tests.hosts.machine import command
from tests.hosts.stub_repository import Package

SERVE = """#!/usr/bin/python3
import http.server, sys
address, port, answers = {parts}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = answers(self.path).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json" if body[:1] == b"[" else "text/plain")
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((address, port), Handler).serve_forever()
"""
CARD = "/srv/pci"
"""Where a host of the tests has its list of cards."""

RESTART = "/run/nvidia-needs-a-restart"
NVIDIA_SMI = (
    f"#!/bin/sh\ntest ! -e {RESTART} && echo 580.95.05 || {{ echo 'the driver does not answer'; exit 9; }}\n"
)
PERSISTENCED = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
NVIDIA = (
    Package(
        "nvidia-driver-cuda",
        files={"/usr/bin/nvidia-smi": NVIDIA_SMI, "/lib/systemd/system/nvidia-persistenced.service": PERSISTENCED},
        postinst=f"#!/bin/sh\ntouch {RESTART}\n",
    ),
    Package("nvidia-kernel-open-dkms"),
    Package("nvidia-fabricmanager", files={"/lib/systemd/system/nvidia-fabricmanager.service": PERSISTENCED}),
    Package("nvlsm"),
    Package("nvidia-open", depends="nvidia-driver-cuda, nvidia-kernel-open-dkms"),
    Package("linux-headers-stub"),
)
DCGM_EXPORTER = SERVE.format(
    parts="""(
    sys.argv[sys.argv.index("--address") + 1].split(":")[0], 9400,
    lambda path: "".join(
        line.split(",")[0] + '{gpu="0"} 1\\n'
        for line in open(sys.argv[sys.argv.index("--collectors") + 1]) if line.startswith("DCGM_")
    ),
)"""
)
DCGM = Package(
    "datacenter-gpu-manager-exporter",
    files={
        "/usr/bin/dcgm-exporter": DCGM_EXPORTER,
        "/lib/systemd/system/nvidia-dcgm-exporter.service": PERSISTENCED,
    },
)
GRAFANA = Package(
    "grafana",
    files={
        "/usr/sbin/grafana-server": SERVE.format(
            parts='("127.0.0.1", 3000, lambda path: "grafana_build_info 1\\n")'
        ),
        "/lib/systemd/system/grafana-server.service": (
            "[Service]\nUser=grafana\nExecStart=/usr/sbin/grafana-server\n[Install]\nWantedBy=multi-user.target\n"
        ),
        "/etc/grafana/provisioning/plugins/.keep": "",
    },
    postinst="#!/bin/sh\nid grafana 2>/dev/null || useradd --system --user-group grafana\n",
)

CADDY_ORIGIN = "cloudsmith/caddy/stable"
CADDY_CONTROL = """Package: caddy
Version: {version}
Architecture: {architecture}
Maintainer: A test <a@example.com>
Description: Caddy as its makers package it
"""
LESS, MORE = "=CAP_NET_BIND_SERVICE", "=CAP_NET_ADMIN CAP_NET_BIND_SERVICE"
"""The capabilities in Debian's unit, and in that of Caddy's own package."""


def caddy_packages(host: Host, folder: Path, *versions: str) -> Iterator[Path]:
    """In ``folder``: Debian's package, from where ``host`` has it, with the program and the unit of operators."""
    host.run("apt-get", "update", seconds=120)
    host.run("sh", "-c", "mkdir --parents /srv/deb && cd /srv/deb && apt-get download caddy", seconds=120)
    [debian] = (host.root / "srv/deb").glob("caddy_*.deb")
    tree = folder / "build/caddy"
    tree.parent.mkdir(exist_ok=True)
    command("dpkg-deb", "--raw-extract", debian, tree)
    shutil.copy2(caddy.program(), tree / "usr/bin/caddy")
    unit = tree / "lib/systemd/system/caddy.service"
    assert LESS in unit.read_text()
    unit.write_text(unit.read_text().replace(LESS, MORE))
    (tree / "DEBIAN/md5sums").unlink()
    architecture = command("dpkg-deb", "--field", debian, "Architecture").strip()
    for version in versions:
        (tree / "DEBIAN/control").write_text(CADDY_CONTROL.format(version=version, architecture=architecture))
        made = folder / f"caddy_{version}_{architecture}.deb"
        command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made)
        yield made
