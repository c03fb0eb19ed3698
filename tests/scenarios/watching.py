"""Prometheus, Alertmanager and the exporters beside a running system, with the settings that the roles install."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import yaml

from appliance.librechat.running.certificate import kept
from tests.monitoring.reading import ROOT, RULES
from tests.monitoring.rendering import rendered, settings
from tests.ports import free_port
from tests.programs import program
from tests.scenarios.system import System

QUERIES = ROOT / "ansible/roles/exporters/templates/postgres-queries.yaml.j2"
"""The template has nothing to fill in but a comment."""

SECONDS = 3
"""Between two looks. Rates want two of them within five minutes."""


@dataclass
class Listener:
    """An address that answers every request with 200, and keeps what was posted."""

    url: str
    received: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def listener(certificate: Path | None = None) -> Iterator[Listener]:
    """Over TLS where it is given a folder for its certificate."""
    server: ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            made.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name there
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        files = kept(certificate, datetime.now(UTC))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    made = Listener(f"{scheme}://localhost:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def child(folder: Path, name: str, *arguments: str, env: dict[str, str] | None = None) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program(name), *arguments], stdout=log, stderr=log, env=env)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Watch:
    """A Prometheus that looks, and who is told."""

    url: str
    told: Listener
    heartbeat: Listener
    textfiles: Path

    def back_up(self, kind: str, at: float) -> None:
        """As `appliance backup check` tells the node exporter of one."""
        (self.textfiles / f"{kind}.prom").write_text(
            f'appliance_backup_ok{{kind="{kind}"}} 1\n'
            f'appliance_backup_last_success_timestamp_seconds{{kind="{kind}"}} {at:.0f}\n'
        )

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as response:
            return json.load(response)["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return found

    def targets(self) -> dict[str, set[str]]:
        """The health of each target, by job."""
        found: dict[str, set[str]] = {}
        for target in self.get("targets")["activeTargets"]:
            found.setdefault(target["labels"]["job"], set()).add(target["health"])
        return found

    def until(self, what: str, expr: str, seconds: float = 400) -> None:
        deadline = time.monotonic() + seconds
        while not self.ask(expr):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; {self.targets()}"
            time.sleep(1)


@contextmanager
def watching(system: System, mongo: str, folder: Path) -> Iterator[Watch]:
    with ExitStack() as stack:
        ports = {name: free_port() for name in ("prometheus", "alertmanager", "node", "postgres", "blackbox")}
        world = stack.enter_context(listener(folder / "tls"))
        told, heartbeat = stack.enter_context(listener()), stack.enter_context(listener())
        exporters(stack, folder, ports, system)
        alertmanager(stack, folder, ports, told, heartbeat)
        file = folder / "prometheus.yml"
        document = asked(ports, system, world.url, urlsplit(mongo).netloc)
        file.write_text(yaml.safe_dump(document | {"rule_files": [str(installed_rules(folder))]}))
        stack.enter_context(
            child(
                folder, "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            )
        )  # fmt: skip
        watch = Watch(f"http://127.0.0.1:{ports['prometheus']}", told, heartbeat, folder / "textfiles")
        for kind in ("postgresql", "mongodb", "files"):
            watch.back_up(kind, time.time())
        deadline = time.monotonic() + 30
        while not ready(watch):
            assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
            time.sleep(0.2)
        yield watch


def ready(watch: Watch) -> bool:
    try:
        with urlopen(f"{watch.url}/-/ready", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def exporters(stack: ExitStack, folder: Path, ports: dict[str, int], system: System) -> None:
    def start(name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        address = f"--web.listen-address=127.0.0.1:{ports[name]}"
        stack.enter_context(child(folder, f"prometheus-{name}-exporter", address, *arguments, env=env))

    textfiles = folder / "textfiles"
    textfiles.mkdir()
    start("node", f"--collector.textfile.directory={textfiles}")
    source = f"host={system.home}/run/postgres user=appliance dbname=appliance sslmode=disable"
    start("postgres", env={"DATA_SOURCE_NAME": source, "PG_EXPORTER_EXTEND_QUERY_PATH": str(QUERIES)})
    blackbox = folder / "blackbox.yml"
    tls = {"tls_config": {"ca_file": str(folder / "tls/localhost.pem")}, "fail_if_not_ssl": True}
    modules = {"https": {"prober": "http", "http": tls}, "tcp": {"prober": "tcp"}}
    blackbox.write_text(yaml.safe_dump({"modules": modules}))
    start("blackbox", f"--config.file={blackbox}")


def alertmanager(
    stack: ExitStack, folder: Path, ports: dict[str, int], told: Listener, heartbeat: Listener
) -> None:
    """Everybody is told at once; who is told of what is as installed."""
    document = yaml.safe_load(
        rendered(
            "alertmanager.yml", {"prometheus_webhook_url": told.url, "prometheus_heartbeat_url": heartbeat.url}
        )
    )
    document["templates"] = [str(ROOT / "configs/alertmanager/alerts.tmpl")]
    for route in (document["route"], *document["route"]["routes"]):
        route["group_wait"] = "1s"
    tickets = next(one for one in document["receivers"] if one["name"] == "ticket")
    tickets["webhook_configs"] = [{"url": told.url}]
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(document))
    stack.enter_context(
        child(
            folder, "prometheus-alertmanager", f"--config.file={file}", f"--storage.path={folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
        )
    )  # fmt: skip


def installed_rules(folder: Path) -> Path:
    """All of them, each looked at as often as the others. Returns what names the files."""
    made = folder / "rules"
    made.mkdir()
    for file in (*RULES.glob("*.yaml"), ROOT / "configs/prometheus/watchdog.yaml"):
        document = yaml.safe_load(file.read_text())
        for group in document["groups"]:
            group.pop("interval", None)
        (made / file.name).write_text(yaml.safe_dump(document))
    return made / "*.yaml"


def asked(ports: dict[str, int], system: System, world: str, mongo: str) -> dict[str, Any]:
    """The settings of the role, with the ports of this test and a shorter wait."""
    document = settings(
        {
            "prometheus_gateway_port": system.port,
            "prometheus_without_gpu": ["one"],
            "prometheus_grafana": False,
            "prometheus_probes": [
                *({"endpoint": one, "address": world, "module": "https"} for one in ("site", "api", "chat")),
                {"endpoint": "mongodb", "address": mongo, "module": "tcp"},
            ],
        }
    )
    text = yaml.safe_dump(document)
    usual = {"prometheus": 9090, "alertmanager": 9093, "node": 9100, "postgres": 9187, "blackbox": 9115}
    for name, port in usual.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[name]}")
    changed: dict[str, Any] = yaml.safe_load(text)
    changed["global"] |= {
        "scrape_interval": f"{SECONDS}s",
        "evaluation_interval": f"{SECONDS}s",
        "scrape_timeout": "3s",
    }
    changed["scrape_configs"] = [job for job in changed["scrape_configs"] if job["job_name"] != "caddy"]
    for job in changed["scrape_configs"]:
        job.pop("scrape_interval", None)
    return changed
