"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.postgres import Cluster
from tests.appliance.postgres_server import running_cluster


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A real PostgreSQL 18 of this test session."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def database_url(postgres_cluster: Cluster) -> str:
    """The URL of an empty database on the session's PostgreSQL; its role may create further databases."""
    return postgres_cluster.url()
