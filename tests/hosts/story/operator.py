"""The operator of the story: a copy of the example's inventory, filled in as docs/installation.md says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.hosts.chatting import WALL
from tests.hosts.host import Host
from tests.hosts.network import Network
from tests.hosts.playbook import Played, play, program, succeeded, write_inventory
from tests.hosts.product import Load, asking, is_right, load, models
from tests.hosts.releases import Workshop, install_environment
from tests.hosts.stub_repository import Repository
from tests.hosts.systems import system
from tests.hosts.vendors import CARD

DOMAIN = "llm.test"
NAMES = (DOMAIN, f"api.{DOMAIN}", f"chat.{DOMAIN}")
VAULT_PASSWORD = "correct horse battery staple"
READY_SECONDS = 300
PUBLIC = {"tcp": [22, 80, 443], "udp": [443]}
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
EXPOSURE_MOST = 2.0
"""Of a service; one without a sandbox has 9.6."""

SERVICES = (
    "appliance-ray", "appliance-serving", "appliance-gateway@1", "appliance-gateway@2", "appliance-site",
    "appliance-worker",
)  # fmt: skip
"""The product's own on the first node."""

OTHERS = (
    "caddy", system().database_unit, "prometheus", "prometheus-alertmanager", "prometheus-node-exporter",
    "prometheus-postgres-exporter", "prometheus-blackbox-exporter", "appliance-dcgm-exporter",
)  # fmt: skip
"""Everybody else's, which it sets up."""


@dataclass
class Vendors:
    """Stand-ins of what cannot be had here: repositories, by the roles that use them, and LibreChat built.

    ``mongodb`` is what the inventory says of MongoDB's own, which is a folder of the first machine.
    """

    repositories: Mapping[str, Repository]
    mongodb: Mapping[str, object]
    librechat: Path


class Operator:
    """``first`` is the bare first machine, ``buy`` starts a further one. The vault is encrypted."""

    def __init__(
        self, net: Network, workshop: Workshop, first: Host, start: Callable[[str], Host], vendors: Vendors
    ) -> None:
        self.net, self.workshop, self.first, self.start, self.vendors = net, workshop, first, start, vendors
        self.environment = self.furnish(first)
        self.inventory = workshop.ansible / "inventories/mine"
        shutil.copytree(workshop.ansible / "inventories/one-node", self.inventory)
        self.says(domain=DOMAIN, operator_name="Example AS", operator_mail=f"ops@{DOMAIN}", models=models())
        variables = self.inventory / "group_vars/all"
        secrets = yaml.safe_load((variables / "vault.example.yml").read_text())
        (variables / "vault.example.yml").unlink()
        (variables / "vault.yml").write_text(yaml.safe_dump(dict.fromkeys(secrets, "")))
        (workshop.folder / "password").write_text(VAULT_PASSWORD)
        vault = Path(program()).with_name("ansible-vault")
        encrypt = [str(vault), "encrypt", "--vault-password-file", "password", str(variables / "vault.yml")]
        subprocess.run(encrypt, cwd=workshop.folder, capture_output=True, check=True)
        assert "stripe" not in (variables / "vault.yml").read_text()
        (workshop.folder / "stubs.json").write_text(json.dumps(self.stubs()))
        self.nodes(self.first)

    def buy(self, name: str) -> Host:
        """A further machine."""
        made = self.start(name)
        self.furnish(made)
        return made

    def furnish(self, host: Host) -> dict[str, str]:
        """With what a machine for tests lacks: a card and the public DNS. Returns how it installs releases."""
        host.knows(dict.fromkeys(NAMES, self.first.address))
        host.put(f"{CARD}/0000:01:00.0/vendor", "0x10de\n")
        return install_environment(host)

    def stubs(self) -> dict[str, object]:
        """The stand-ins for what vendors and the world have."""
        return {
            "appliance_device": "cpu", "preflight_memory_gib": 4, "preflight_disk_gib": 4,
            "appliance_install_environment": self.environment, "appliance_gateway_processes": 2,
            "preflight_pci_folder": CARD, "nvidia_pci_folder": CARD, "nvidia_headers": ["linux-headers-stub"],
            "caddy_authority": "internal", "caddy_suite": "./", "grafana_suite": "./",
            "postgresql_shared_buffers_mb": 64, **self.vendors.mongodb,
        } | {
            name: value
            for role, repository in self.vendors.repositories.items()
            for name, value in repository.of(role).items()
        }  # fmt: skip

    def says(self, **variables: object) -> None:
        """Into the inventory's ``group_vars/all/main.yml``."""
        file = self.inventory / "group_vars/all/main.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | variables))

    def nodes(self, first: Host, *workers: Host) -> None:
        """The inventory's hosts. With several, each has the address by which the others reach it."""
        hosts = [first, *workers]
        own = {host.name: {"node_address": host.address} for host in hosts} if workers else {}
        write_inventory(self.inventory, {"first": [first], "workers": workers, "nodes": hosts}, {}, own)

    def play(self, playbook: str, *arguments: str) -> Played:
        """As the page has it. It may fail."""
        known = ("--vault-password-file", "../password", "-e", "@../stubs.json")
        return play(self.inventory, playbook, *known, *arguments, ansible=self.workshop.ansible)

    def converge(self, playbook: str, *arguments: str) -> Played:
        """The same. Raises AssertionError with what Ansible said when something failed."""
        return succeeded(self.play(playbook, *arguments))

    def opens_a_chat(self) -> None:
        """What docs/librechat.md says of it; and, as in the public world, the machine trusts its certificates."""
        self.says(chat=True, librechat_archive=str(self.vendors.librechat))
        self.first.run("useradd", "--system", "--no-create-home", "librechat")
        self.first.put("/srv/wall.nft", WALL)
        self.first.run("nft", "-f", "/srv/wall.nft")
        self.first.put("/usr/local/share/ca-certificates/caddy.crt", self.first.run("cat", AUTHORITY))
        self.first.run("update-ca-certificates")

    def curl(self, *arguments: str, seconds: float = 60) -> str:
        """From outside, with the certificate checked against the authority of the host's Caddy."""
        there = [word for one in NAMES for word in ("--resolve", f"{one}:443:{self.first.address}")]
        return self.net.outside(
            "curl",
            "--silent",
            "--show-error",
            "--cacert",
            self.root,
            *there,
            *arguments,
            seconds=seconds,
            check=False,
        )

    def customers(self, key: str) -> AbstractContextManager[Load]:
        """Who ask from outside, by TLS."""
        where = ["ip", "netns", "exec", self.net.onlooker]
        return load(where, key, f"https://api.{DOMAIN}", self.first.address, str(self.root))

    @property
    def root(self) -> Path:
        """The certificate of the authority of the first node's Caddy."""
        file = self.workshop.folder / "root.crt"
        if not file.exists():
            file.write_text(self.first.run("cat", AUTHORITY))
        return file

    def ask(self, key: str) -> str:
        """What the API says to a question whose answer is known."""
        return self.curl(f"https://api.{DOMAIN}/v1/chat/completions", *asking(key))

    def answers(self, key: str) -> bool:
        return is_right(self.ask(key))
