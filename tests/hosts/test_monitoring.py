"""Two fresh machines that are watched. Stubs stand in for the gateways, for Grafana and for NVIDIA's exporter."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from quopri import decodestring
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.network import Network
from tests.hosts.playbook import ROOT, converge, inventory, play
from tests.hosts.stub_repository import repository
from tests.hosts.vendors import DCGM_EXPORTER, GRAFANA, SERVE

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1800)]

ROLES = "--tags=exporters,prometheus,grafana"
GATEWAY = SERVE.format(
    parts="""(
    "0.0.0.0", 8000,
    lambda path: '[{"targets": ["127.0.0.1:8000"], "labels": {"__metrics_path__": "/metrics", "job": "gateway"}}]'
    if path == "/metrics/targets" else "appliance_connections_open 1\\n",
)"""
)
GATEWAY_UNIT = "[Service]\nExecStart=/srv/gateway\n[Install]\nWantedBy=multi-user.target\n"
MAIL_SERVER = """#!/usr/bin/python3
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mail\\r\\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\\r\\n")
                with open("/srv/mail", "ab") as mail:
                    mail.writelines(iter(self.rfile.readline, b".\\r\\n"))
            self.wfile.write(b"221 bye\\r\\n" if word == b"QUIT" else b"250 ok\\r\\n")
            if word == b"QUIT":
                return
socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Handler).serve_forever()
"""
MAIL_UNIT = "[Service]\nExecStart=/srv/mail-server\n"
TEXTFILE = "/var/lib/prometheus/node-exporter/backup.prom"


class Watched:
    """``first`` has Prometheus, ``second`` is a further node without a GPU."""

    def __init__(self, first: Host, second: Host, file: Path) -> None:
        self.first, self.second, self.file = first, second, file

    def ask(self, expr: str) -> list[dict[str, Any]]:
        answer = self.first.run("curl", "-sS", f"http://127.0.0.1:9090/api/v1/query?query={quote(expr)}")
        found: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
        return found

    def up(self) -> set[tuple[str, str]]:
        """Each target that answers, by job and instance. The query `up` also has the package's own."""
        answer = self.first.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/targets?state=active")
        targets = json.loads(answer)["data"]["activeTargets"]
        return {(one["labels"]["job"], one["labels"]["instance"]) for one in targets if one["health"] == "up"}

    def all_answer(self, targets: set[tuple[str, str]]) -> None:
        """In time; else the assertion shows which do not."""
        with suppress(TimeoutError):
            self.first.wait("all targets answer", lambda: self.up() == targets, 90)
        assert self.up() == targets


@pytest.fixture(scope="module")
def watched(
    net: Network, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitoring")
    first, second = new_host("gpu1"), new_host("gpu2")
    for host in (first, second):
        host.run("apt-get", "update", seconds=120)
        host.put("/srv/gateway", GATEWAY, mode=0o755)
        host.put("/etc/systemd/system/gateway.service", GATEWAY_UNIT)
        host.run("systemctl", "enable", "--now", "gateway.service")
    install = ("apt-get", "install", "--yes", "--no-install-recommends", "curl", "postgresql")
    first.run("env", "DEBIAN_FRONTEND=noninteractive", *install, seconds=300)
    database = "CREATE ROLE prometheus LOGIN IN ROLE pg_monitor"
    first.run("runuser", "-u", "postgres", "--", "psql", "-c", database, "-c", "CREATE DATABASE appliance")
    first.put("/usr/bin/dcgm-exporter", DCGM_EXPORTER, mode=0o755)
    first.put("/srv/mail-server", MAIL_SERVER, mode=0o755)
    first.put("/etc/systemd/system/mail.service", MAIL_UNIT)
    first.run("systemctl", "start", "mail.service")
    first.put("/etc/prometheus/rules/of-an-earlier-release.yaml", "groups: []\n")
    with repository(folder / "apt", net.gateway) as apt:
        apt.build(GRAFANA)
        variables: dict[str, object] = {
            "domain": "llm.test", "operator_name": "Example AS", "operator_mail": "ops@llm.test",
            "models": [{"id": "some"}], "mail_password": "a-secret", "exporters_dcgm_packages": [],
            "alert_smtp_server": "127.0.0.1:2525", "prometheus_smtp_tls": False,
            "alert_heartbeat_url": f"{apt.url}/beat", "grafana_suite": "./", **apt.of("grafana"),
        }  # fmt: skip
        of_each: dict[str, dict[str, object]] = {
            "gpu1": {"node_address": first.address},
            "gpu2": {"node_address": second.address, "gpu": False},
        }
        file = inventory(folder, first, [second], of_each=of_each, **variables)
        converge(file, "site.yml", ROLES)
        yield Watched(first, second, file)


def test_a_second_run_changes_nothing_and_a_trial_says_so(watched: Watched) -> None:
    assert converge(watched.file, "site.yml", ROLES).changed == {"gpu1": 0, "gpu2": 0}
    assert converge(watched.file, "site.yml", ROLES, "--check", "--diff").changed == {"gpu1": 0, "gpu2": 0}


def test_everything_on_both_machines_is_asked_and_answers(watched: Watched) -> None:
    first = {("gpu", "gpu1"), ("postgres", "gpu1"), ("grafana", "gpu1"), ("alertmanager", "gpu1")}
    both = {(job, host) for job in ("gateway", "node") for host in ("gpu1", "gpu2")}
    probes = {("blackbox", "https://llm.test/"), ("blackbox", "https://api.llm.test/livez")}
    expected = first | both | probes | {("prometheus", "gpu1")}
    watched.all_answer(expected)
    assert watched.ask("pg_up == 1")
    assert watched.ask('DCGM_FI_DEV_GPU_TEMP{instance="gpu1"}')
    assert watched.ask('node_systemd_unit_state{name="prometheus.service",state="active"} == 1')
    assert watched.ask('node_systemd_service_restart_total{name="prometheus.service"}')


def test_every_alert_about_the_database_has_its_metrics(watched: Watched) -> None:
    """The exporter's names change with its versions, and an alert on a name that is gone never fires."""
    rules = "".join(file.read_text() for file in (ROOT / "configs/prometheus/rules").glob("*.yaml"))
    wanted = set(re.findall(r"\bpg_[a-z_]+", rules))
    assert len(wanted) > 5
    assert {name for name in wanted if not watched.ask(name)} == set()


def test_nothing_of_it_listens_to_the_world(watched: Watched) -> None:
    def heard(host: Host) -> set[str]:
        lines = host.run("ss", "-ltnH").splitlines()
        ports = (":9090", ":9093", ":9094", ":3000", ":9100", ":9115", ":9187", ":9400")
        return {line.split()[3] for line in lines if line.split()[3].endswith(ports)}

    ports = (9090, 9093, 3000, 9100, 9115, 9187, 9400)
    assert heard(watched.first) == {f"127.0.0.1:{port}" for port in ports}
    assert heard(watched.second) == {f"{watched.second.address}:9100"}


def test_secrets_are_for_prometheus_alone_and_old_rules_are_gone(watched: Watched) -> None:
    mode = watched.first.run("stat", "--format=%a %U %G", "/etc/prometheus/smtp-password")
    assert mode == "640 root prometheus\n"
    assert watched.first.run("stat", "--format=%a", "/etc/prometheus-postgres-exporter") == "600\n"
    rules = watched.first.run("ls", "/etc/prometheus/rules").split()
    assert "of-an-earlier-release.yaml" not in rules
    assert {"service.yaml", "money.yaml", "watchdog.yaml"} <= set(rules)


def test_an_old_backup_is_told_by_mail_with_what_to_read(watched: Watched, figure: Figure) -> None:
    began = time.monotonic()
    stamp = f"{time.time() - 60 * 3600:.0f}"
    watched.first.put(TEXTFILE, f'appliance_backup_last_success_timestamp_seconds{{kind="files"}} {stamp}\n')
    watched.first.wait("the mail", lambda: "BackupVeryOld" in mails(watched.first), 120)
    figure("from an old backup to the mail, seconds", time.monotonic() - began)
    mail = mails(watched.first)
    assert "To: ops@llm.test" in mail
    assert "[page] BackupVeryOld (llm.test)" in mail
    assert "There has been no backup of files for two days" in mail
    assert "/opt/appliance/current/docs/runbooks/BackupVeryOld.md" in mail
    watched.first.run("rm", TEXTFILE)


def mails(host: Host) -> str:
    """What came to the mail server. A boundary may look like a letter that was written as a number."""
    came = host.run("cat", "/srv/mail", check=False).replace("\r\n", "\n")
    return decodestring(came.encode()).decode(errors="replace")


def test_it_comes_back_with_the_machine(watched: Watched) -> None:
    before = watched.up()
    watched.first.reboot()
    watched.all_answer(before)
    assert watched.first.run("systemctl", "--failed", "--quiet", "--no-legend").strip() == ""


def test_another_key_than_grafanas_is_refused(watched: Watched) -> None:
    played = play(watched.file, "site.yml", "--tags=grafana", "--extra-vars=grafana_key_fingerprint=ABCD")
    assert played.status != 0
    assert "and not ABCD. Nothing was installed" in " ".join(played.output.split())
