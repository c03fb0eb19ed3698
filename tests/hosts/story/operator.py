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
from tests.hosts.machine import command
from tests.hosts.network import Network, inside
from tests.hosts.playbook import Played, play, program, succeeded, write_inventory
from tests.hosts.product import Load, asking, is_right, load, models
from tests.hosts.releases import Workshop, install_environment
from tests.hosts.stub_repository import Repository
from tests.hosts.systems import system
from tests.hosts.vendors import CARD

DOMAIN = "llm.test"
ASKED = f"https://api.{DOMAIN}/v1/chat/completions"
NAMES = (DOMAIN, f"api.{DOMAIN}", f"chat.{DOMAIN}")
TERMS = "Example AS answers what it is asked."
VAULT_PASSWORD = "correct horse battery staple"
READY_SECONDS = 300
PUBLIC = {"tcp": [22, 80, 443], "udp": [443]}
CADDYS_HOME = "/var/lib/caddy"
AUTHORITY = f"{CADDYS_HOME}/.local/share/caddy/pki/authorities/local/root.crt"
AUTHORITYS_KEY = f"{CADDYS_HOME}/.local/share/caddy/pki/authorities/local/root.key"
CHAT = "http://127.0.0.1:3080"
BACKUPS = "/srv/backups"
BACKUP_PASSPHRASE = "only the vault knows this word"
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
        self.spare: list[Host] = []
        """One at most, which serves nobody."""
        self.environment = self.furnish(first)
        self.inventory = workshop.ansible / "inventories/mine"
        shutil.copytree(workshop.ansible / "inventories/one-node", self.inventory)
        (self.inventory / "terms.md").write_text(f"# Terms of service\nVersion: 2026-11-01\n\n{TERMS}\n")
        self.says(
            domain=DOMAIN, operator_name="Example AS", operator_mail=f"ops@{DOMAIN}", models=models(),
            appliance_texts={"terms.md": "{{ lookup('file', inventory_dir ~ '/terms.md') }}"},
        )  # fmt: skip
        (workshop.folder / "password").write_text(VAULT_PASSWORD)
        example = self.inventory / "group_vars/all/vault.example.yml"
        self.secrets = dict.fromkeys(yaml.safe_load(example.read_text()), "")
        example.unlink()
        self.hides()
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

    def hides(self, **secrets: str) -> None:
        """Into the inventory's vault."""
        self.secrets |= secrets
        file = self.inventory / "group_vars/all/vault.yml"
        file.write_text(yaml.safe_dump(self.secrets))
        vault = Path(program()).with_name("ansible-vault")
        command(vault, "encrypt", "--vault-password-file", self.workshop.folder / "password", file)
        assert "stripe" not in file.read_text()

    def nodes(self, first: Host, *workers: Host) -> None:
        """The inventory's hosts. With several, each has the address by which the others reach it."""
        hosts = [first, *workers]
        own = {host.name: {"node_address": host.address} for host in hosts} if workers else {}
        groups = {"first": [first], "workers": workers, "nodes": hosts, "drill": self.spare}
        write_inventory(self.inventory, groups, {}, own)

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
        self.trusts_the_authority(self.first)

    def backs_up(self) -> None:
        """What docs/backup.md says of it, to a folder that is another machine's."""
        self.says(backup_to={"type": "path", "path": BACKUPS})
        self.hides(backup_passphrase=BACKUP_PASSPHRASE)

    def has_a_spare(self) -> Host:
        """A machine for drills."""
        self.spare = [self.buy("spare")]
        self.nodes(self.first)
        return self.spare[0]

    def loses_the_first(self) -> None:
        """For good. The inventory and the DNS name a bare machine in its place."""
        authority = {path: self.first.run("cat", path) for path in (AUTHORITY, AUTHORITYS_KEY)}
        self.first.kill()
        self.first = self.buy("gpu1-anew")
        self.nodes(self.first)
        # The authority is the public world's, though here it is Caddy's own: it is not lost with the machine.
        self.first.run("useradd", "--system", "--home-dir", CADDYS_HOME, "caddy")
        for path, text in authority.items():
            self.first.put(path, text, mode=0o600)
        self.first.run("chown", "--recursive", "caddy:caddy", CADDYS_HOME)
        self.trusts_the_authority(self.first)

    def trusts_the_authority(self, host: Host) -> None:
        host.put("/usr/local/share/ca-certificates/caddy.crt", self.root)
        host.run("update-ca-certificates")

    def curl(self, *arguments: str, seconds: float = 60) -> str:
        """From outside, with the certificate checked against the authority of the host's Caddy."""
        return self.net.outside(*self._curl(*arguments), seconds=seconds, check=False)

    def _curl(self, *arguments: str) -> list[str]:
        there = [word for one in NAMES for word in ("--resolve", f"{one}:443:{self.first.address}")]
        return ["curl", "--silent", "--show-error", "--cacert", str(self.root), *there, *arguments]

    def customers(self, key: str) -> AbstractContextManager[Load]:
        """Who ask from outside, by TLS."""
        return load(inside(self.net.onlooker), key, f"https://api.{DOMAIN}", self.first.address, str(self.root))

    @property
    def root(self) -> Path:
        """The certificate of the authority of the first node's Caddy."""
        file = self.workshop.folder / "root.crt"
        if not file.exists():
            file.write_text(self.first.run("cat", AUTHORITY))
        return file

    def ask(self, key: str) -> str:
        """What the API says to a question whose answer is known; '' if nobody is there."""
        return self.curl(ASKED, "--connect-timeout", "2", "--max-time", "30", *asking(key))

    def begins_an_answer(self, key: str) -> Callable[[], str]:
        """A customer has the first words of a long answer that is streamed. Returns what reads the rest."""
        question = asking(key, stream=True, max_tokens=100, ignore_eos=True)
        words = self._curl(ASKED, "--no-buffer", "--max-time", "120", *question)
        asks = subprocess.Popen([*inside(self.net.onlooker), *words], stdout=subprocess.PIPE, text=True)
        assert asks.stdout is not None
        assert asks.stdout.readline().startswith("data:")
        return asks.stdout.read

    def answers(self, key: str) -> bool:
        return is_right(self.ask(key))
