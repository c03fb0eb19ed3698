"""An S3 service on the hosts' network, by TLS, whose keys may do what a policy says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.image import cache
from tests.hosts.machine import command
from tests.hosts.network import Network
from tests.hosts.playbook import ROOT

NAME = "s3.test"
LOCK = ROOT / "requirements/s3.txt"


@dataclass(frozen=True)
class Store:
    """Keys are pairs of an id and a secret: the ``node``'s, and one of the ``operator`` that may do everything."""

    address: str
    certificate: Path
    node: tuple[str, str]
    operator: tuple[str, str]

    def known_to(self, host: Host) -> None:
        """By its name and by its certificate."""
        host.knows({NAME: self.address})
        host.put("/usr/local/share/ca-certificates/object-store.crt", self.certificate)
        host.run("update-ca-certificates")


@contextmanager
def object_store(net: Network, folder: Path, bucket: str, policy: str) -> Iterator[Store]:
    """``policy`` is the node's. The bucket keeps versions, and is gone in the end."""
    certificate, private = folder / "s3.crt", folder / "s3.key"
    command(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", private, "-out", certificate,
    )  # fmt: skip
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(python()), str(Path(__file__).with_name("moto_server.py")),
             net.gateway, str(certificate), str(private), bucket, policy],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        if not said:
            raise RuntimeError(f"the S3 service did not start:\n{(folder / 's3.log').read_text()[-2000:]}")
        keys = {name: (key, secret) for name, (key, secret) in json.loads(said).items()}
        yield Store(net.gateway, certificate, keys["node"], keys["operator"])
    finally:
        server.kill()
        server.wait()


def python() -> Path:
    """Of the environment that it runs in, which is made once for each lock."""
    folder = cache() / f"s3-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    found = folder / "bin/python"
    if not (folder / "complete").exists():
        uv = Path(sys.executable).with_name("uv")
        command(uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder)
        command(
            uv,
            "pip",
            "install",
            "--quiet",
            f"--python={found}",
            "--require-hashes",
            "--requirements",
            LOCK,
            seconds=300,
        )
        (folder / "complete").touch()
    return found
