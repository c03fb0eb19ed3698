"""What tests on hosts are given. Where there can be none, they fail and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.host import Host
from tests.hosts.machine import lacks
from tests.hosts.network import Network, network


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    reason = lacks()
    if reason:
        pytest.fail(reason, pytrace=False)
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def new_host(net: Network) -> Iterator[Callable[..., Host]]:
    """Starts a fresh host of the module's network: ``new_host("gpu1")``."""
    made: list[Host] = []

    def start(name: str, *binds: str) -> Host:
        made.append(Host(net, name, binds))
        made[-1].start()
        return made[-1]

    yield start
    for host in made:
        host.remove()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parent.parent.parent
