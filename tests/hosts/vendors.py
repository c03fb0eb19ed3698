"""What vendors' repositories have and cannot be had here: packages of the same names that do next to nothing."""

from __future__ import annotations

from tests.hosts.stub_repository import Package

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
    Package("linux-headers-stub"),
)
DCGM = Package(
    "datacenter-gpu-manager-exporter",
    files={
        "/usr/bin/dcgm-exporter": """#!/usr/bin/python3
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 0\\n')
    def log_message(self, *arguments):
        pass
host, _, port = sys.argv[sys.argv.index("--address") + 1].rpartition(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
    },
)
