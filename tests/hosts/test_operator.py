"""An operator's first day, by docs/installation.md: a fresh server, a paid answer, a second node that joins."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from appliance.settings import CONFIGS
from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.network import Network
from tests.hosts.playbook import Played, converge, program, write_inventory
from tests.hosts.product import API, asked, curl, status
from tests.hosts.releases import Workshop, binds, install_environment, workshop
from tests.hosts.scanning import forget, open_ports, spray, watch, watched
from tests.hosts.stub_repository import Repository
from tests.hosts.stub_repository import repository as stub_repository
from tests.hosts.systems import system
from tests.hosts.vendors import CARD, DCGM, GRAFANA, NVIDIA

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(2400)]

DOMAIN = "llm.test"
NAMES = (DOMAIN, f"api.{DOMAIN}")
VAULT_PASSWORD = "correct horse battery staple"
READY_SECONDS = 300
PUBLIC = {"tcp": [22, 80, 443], "udp": [443]}
SERVICES = (
    "appliance-firewall", "appliance-ray", "appliance-serving", "appliance-gateway@1", "appliance-site",
    "appliance-worker", "caddy", system().database_unit, "prometheus", "prometheus-alertmanager",
    "prometheus-node-exporter", "prometheus-postgres-exporter", "prometheus-blackbox-exporter",
    "appliance-dcgm-exporter", "grafana-server", "nvidia-persistenced",
)  # fmt: skip
RESTARTED = (
    "caddy", system().database_unit, "prometheus", "prometheus-alertmanager", "prometheus-node-exporter",
    "prometheus-postgres-exporter", "prometheus-blackbox-exporter", "appliance-dcgm-exporter",
)  # fmt: skip
"""What systemd starts again after `kill -9`; test_services.py has the product's own."""

INSIDE = {"Ray": 6379, "PostgreSQL": 5432, "gateway": 8000, "node exporter": 9100}


class Operator:
    """``inventory`` is a copy of the example, filled in as the page says, with its vault encrypted."""

    def __init__(
        self, net: Network, workshop: Workshop, hosts: tuple[Host, Host], nvidia: Repository, grafana: Repository
    ) -> None:
        self.net, self.workshop, (self.first, self.second) = net, workshop, hosts
        self.nvidia, self.grafana = nvidia, grafana
        self.inventory = workshop.ansible / "inventories/mine"
        shutil.copytree(workshop.ansible / "inventories/one-node", self.inventory)
        variables = self.inventory / "group_vars/all"
        written = yaml.safe_load((variables / "main.yml").read_text())
        written |= {"domain": DOMAIN, "operator_name": "Example AS", "operator_mail": f"ops@{DOMAIN}"}
        written["models"] = [yaml.safe_load((CONFIGS / "models.yaml").read_text())["models"][0]]
        (variables / "main.yml").write_text(yaml.safe_dump(written))
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

    def stubs(self) -> dict[str, object]:
        """What a machine for tests lacks: a card, its vendors' packages, the public DNS and its certificates."""
        [environment, _] = [install_environment(host) for host in (self.first, self.second)]
        return {
            "release": "v1", "appliance_device": "cpu", "preflight_memory_gib": 4, "preflight_disk_gib": 4,
            "appliance_install_environment": environment,
            "preflight_pci_folder": CARD, "nvidia_pci_folder": CARD, "nvidia_headers": ["linux-headers-stub"],
            "nvidia_repository_url": self.nvidia.url, "nvidia_key_url": f"{self.nvidia.url}/key.pub",
            "nvidia_key_fingerprint": self.nvidia.fingerprint, "caddy_authority": "internal",
            "grafana_repository_url": self.grafana.url, "grafana_key_url": f"{self.grafana.url}/key.pub",
            "grafana_key_fingerprint": self.grafana.fingerprint, "grafana_suite": "./",
            "postgresql_shared_buffers_mb": 64,
        }  # fmt: skip

    def nodes(self, first: Host, *workers: Host) -> None:
        """The inventory's hosts. With several, each has the address by which the others reach it."""
        hosts = [first, *workers]
        own = {host.name: {"node_address": host.address} for host in hosts} if workers else {}
        write_inventory(self.inventory, {"first": [first], "workers": workers, "nodes": hosts}, {}, own)

    def converge(self, playbook: str, *arguments: str) -> Played:
        """As the page has it. Raises AssertionError with what Ansible said when something failed."""
        known = ("--vault-password-file", "../password", "-e", "@../stubs.json")
        return converge(self.inventory, playbook, *known, *arguments, ansible=self.workshop.ansible)

    def curl(self, *arguments: str, seconds: float = 60) -> str:
        """From outside, with the certificate checked against the authority of the host's Caddy."""
        there = [word for one in NAMES for word in ("--resolve", f"{one}:443:{self.first.address}")]
        root = self.workshop.folder / "root.crt"
        if not root.exists():
            found = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
            root.write_text(self.first.run("cat", found))
        return self.net.outside(
            "curl", "--silent", "--show-error", "--cacert", root, *there, *arguments, seconds=seconds, check=False
        )

    def answers(self, key: str) -> bool:
        body = {
            "model": "smollm2", "temperature": 0, "max_tokens": 16,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }  # fmt: skip
        said = self.curl(
            f"https://api.{DOMAIN}/v1/chat/completions", "--header", f"Authorization: Bearer {key}",
            "--header", "Content-Type: application/json", "--data", json.dumps(body),
        )  # fmt: skip
        try:
            return "Paris" in json.loads(said)["choices"][0]["message"]["content"]
        except (ValueError, KeyError):
            return False


@pytest.fixture(scope="module")
def operator(
    net: Network, new_host: Callable[..., Host], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    made = workshop(repository, folder / "clone")
    made.release("v1")
    first, second = new_host("gpu1", *binds()), new_host("gpu2", *binds())
    with (
        stub_repository(folder / "nvidia", net.gateway) as nvidia,
        stub_repository(folder / "grafana", net.gateway) as grafana,
    ):
        nvidia.build(*NVIDIA, DCGM)
        grafana.build(GRAFANA)
        for host in (first, second):
            host.knows(dict.fromkeys(NAMES, first.address))
            host.put(f"{CARD}/0000:01:00.0/vendor", "0x10de\n")
        yield Operator(net, made, (first, second), nvidia, grafana)


@pytest.fixture(scope="module")
def key(operator: Operator, figure: Figure) -> str:
    """Of the first customer, once everything is installed and answers."""
    began = time.monotonic()
    operator.converge("site.yml", "--tags", "preflight")
    operator.converge("site.yml")
    installed = time.monotonic()
    operator.first.run("appliance", "account", "create", "me")
    operator.first.run("appliance", "credit", "grant", "me", "5")
    made = str(asked(operator.first, "key", "create", "me")["key"])
    operator.first.wait("the first answer", lambda: operator.answers(made), READY_SECONDS)
    figure("Ansible's run from a fresh server, seconds", round(installed - began))
    figure("the first paid answer after its start, seconds", round(time.monotonic() - began))
    return made


def test_a_stranger_has_a_paid_answer_by_the_page(operator: Operator, key: str) -> None:
    host = operator.first
    for service in SERVICES:
        assert runs(host, service), service
    assert host.run("systemctl", "list-units", "--failed", "--no-legend", "--plain") == ""
    (row, *_) = asked(host, "usage", "list", "--account", "me")
    assert row["prompt_tokens"] > 0
    host.run("appliance", "ledger", "verify")
    link = host.run("cat", "/var/lib/appliance/run/first-link").strip()
    assert link.startswith(f"https://{DOMAIN}/")
    assert "<title>" in operator.curl(link)


def test_a_second_run_changes_nothing(operator: Operator, key: str) -> None:
    for options in ((), ("--check", "--diff")):
        again = operator.converge("site.yml", *options)
        assert again.changed == {"gpu1": 0}, again.changes


def test_prometheus_sees_everything_that_there_is(operator: Operator, key: str) -> None:
    def up() -> dict[str, set[str]]:
        said = curl(operator.first, "http://127.0.0.1:9090/api/v1/targets?state=active")
        states: dict[str, set[str]] = {}
        for target in json.loads(said)["data"]["activeTargets"]:
            states.setdefault(target["labels"]["job"], set()).add(target["health"])
        return states

    operator.first.wait("every target is up", lambda: set.union(*up().values()) == {"up"}, 180)
    assert {"gateway", "engine", "ray", "node", "postgres"} <= up().keys()


def test_the_world_reaches_ssh_and_caddy_alone(operator: Operator, key: str) -> None:
    scan(operator, operator.first, PUBLIC["tcp"], PUBLIC["udp"])


def scan(operator: Operator, host: Host, tcp: list[int], udp: list[int]) -> None:
    """Every port of both protocols, of both addresses, from outside; and what the firewall let through of them."""
    watch(operator.net, host)
    for address in (host.address, host.address6):
        assert open_ports(operator.net, address) == tcp
        spray(operator.net, address)
    assert watched(host) == (tcp, udp)
    forget(host)


@pytest.mark.parametrize("service", RESTARTED)
def test_a_service_that_is_killed_comes_back(operator: Operator, key: str, service: str) -> None:
    host = operator.first
    before = host.main_pid(service)
    assert before
    host.run("kill", "-9", str(before))
    host.wait("it was started again", lambda: host.main_pid(service) not in (0, before))
    host.wait("answers come again", lambda: operator.answers(key), 120)


def test_a_server_that_is_restarted_serves_again(operator: Operator, key: str) -> None:
    host = operator.first
    host.reboot()
    host.wait("answers come again", lambda: operator.answers(key), READY_SECONDS)
    for service in SERVICES:
        host.wait(f"{service} runs", partial(runs, host, service))
    assert host.run("systemctl", "list-units", "--failed", "--no-legend", "--plain") == ""


def test_a_second_node_joins_by_the_inventory_alone(operator: Operator, key: str) -> None:
    first, second = operator.first, operator.second
    operator.nodes(first, second)
    operator.converge("site.yml")
    first.wait("answers come again", lambda: operator.answers(key), READY_SECONDS)
    second.wait("its gateway is ready", lambda: ready(second), READY_SECONDS)
    again = operator.converge("site.yml")
    assert again.changed == {"gpu1": 0, "gpu2": 0}, again.changes
    scan(operator, first, PUBLIC["tcp"], PUBLIC["udp"])
    scan(operator, second, [22], [])
    for name, port in INSIDE.items():
        assert connects(second, first.address, port), name
    first.run("appliance", "ledger", "verify")


def runs(host: Host, service: str) -> bool:
    return host.run("systemctl", "is-active", service, check=False) == "active\n"


def ready(host: Host) -> bool:
    return status(host, f"{API}/readyz") == 200


def connects(host: Host, address: str, port: int) -> bool:
    code = f"import socket; socket.create_connection(('{address}', {port}), 5)"
    return host.ssh(f'python3 -c "{code}"').returncode == 0
