"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.postgres import Cluster
from appliance.settings import load_settings
from serving.prepare import prepare
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


@pytest.fixture(scope="session")
def prepared_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sample model, converted once a session: what a home's ``models`` would hold."""
    folder = tmp_path_factory.mktemp("models")
    for model in load_settings({}).models:
        prepare(model.source, model.id, folder, print)
    return folder
