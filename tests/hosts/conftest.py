"""What tests on hosts are given. Where there can be none, they fail and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.host import Host, hosts_on
from tests.hosts.machine import lacks
from tests.hosts.network import Network, network


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network_or_reason() as made:
        yield made


@contextmanager
def network_or_reason() -> Iterator[Network]:
    if reason := lacks():
        pytest.fail(reason, pytrace=False)
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def new_host(net: Network) -> Iterator[Callable[..., Host]]:
    """Starts a fresh host of the module's network: ``new_host("gpu1")``."""
    with hosts_on(net) as start:
        yield start


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parent.parent.parent
