"""The machines of the story, and how far it has come: each fixture holds all that was before it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import caddy
from tests.conftest import Figure
from tests.hosts import chatting, mongodb_stub, restoring
from tests.hosts.conftest import network_or_reason
from tests.hosts.host import Host, hosts_on
from tests.hosts.network import Network
from tests.hosts.product import curl, customer, status
from tests.hosts.releases import binds, workshop
from tests.hosts.story.operator import BACKUPS, CHAT, READY_SECONDS, Operator, Vendors
from tests.hosts.stub_repository import repository as stub_repository
from tests.hosts.vendors import CADDY_ORIGIN, DCGM, GRAFANA, NVIDIA, caddy_packages

MONGODB = "/srv/mongodb"


@pytest.fixture(scope="package")
def net() -> Iterator[Network]:
    with network_or_reason() as made:
        yield made


@pytest.fixture(scope="package")
def operator(net: Network, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """With a bare first machine, and a release in the clone."""
    folder = tmp_path_factory.mktemp("operator")
    mongodb, backups = folder / "mongodb", folder / "backups"
    for one in (folder.parent, folder, mongodb, backups):
        one.mkdir(exist_ok=True)
        one.chmod(0o755)
    mongodb_variables = {
        "mongodb_repository": f"file:{MONGODB}", "mongodb_key": f"file://{MONGODB}/key.pub",
        "mongodb_key_fingerprint": mongodb_stub.make_repository(mongodb),
    }  # fmt: skip
    made = workshop(repository, folder / "clone")
    made.release("v1")
    with (
        hosts_on(net) as start,
        stub_repository(folder / "nvidia", net.gateway) as nvidia,
        stub_repository(folder / "grafana", net.gateway) as grafana,
        stub_repository(folder / "caddy", net.gateway, CADDY_ORIGIN) as proxy,
    ):
        nvidia.build(*NVIDIA, DCGM)
        grafana.build(GRAFANA)
        reached = [f"--bind-ro={mongodb}:{MONGODB}", f"--bind={backups}:{BACKUPS}"]

        def bare(name: str) -> Host:
            return start(name, *binds(), *restoring.binds(), *reached)

        first = bare("gpu1")
        proxy.build(*caddy_packages(first, proxy.folder, caddy.version()))
        librechat = chatting.archive(folder / "librechat.tgz")
        repositories = {"nvidia": nvidia, "grafana": grafana, "caddy": proxy}
        vendors = Vendors(repositories, mongodb_variables, librechat)
        yield Operator(net, made, first, bare, vendors)


@pytest.fixture(scope="package")
def key(operator: Operator, figure: Figure) -> str:
    """Of the first customer, once everything is installed and answers."""
    began = time.monotonic()
    operator.converge("site.yml", "--tags", "preflight")
    operator.converge("site.yml")
    installed = time.monotonic()
    made = customer(operator.first, "me")
    operator.first.wait("the first answer", lambda: operator.answers(made), READY_SECONDS)
    figure("Ansible's run from a fresh server, seconds", round(installed - began))
    figure("the first paid answer after its start, seconds", round(time.monotonic() - began))
    return made


@pytest.fixture(scope="package")
def chat(operator: Operator, key: str) -> Mapping[str, object]:
    """It is open. What LibreChat's stand-in sees of its machine."""
    operator.opens_a_chat()
    operator.converge("site.yml", "--tags=mongodb,ray,appliance,caddy,librechat")
    operator.first.wait("it answers", lambda: status(operator.first, f"{CHAT}/health") == 200)
    seen: Mapping[str, object] = json.loads(curl(operator.first, f"{CHAT}/seen"))
    return seen
