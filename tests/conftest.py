"""What every test may ask for."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from appliance.postgres import Cluster
from appliance.settings import load_settings
from billing.database import migrations
from billing.database.db import async_url, execute
from serving.weights.prepare import prepare
from tests.appliance.postgres_server import running_cluster

Figure = Callable[[str, object], None]
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a measured figure; all of them are printed when the tests are over."""
    noted = request.config.stash.setdefault(FIGURES, [])

    def note(name: str, value: object) -> None:
        noted.append(f"{name}: {value:.1f}" if isinstance(value, float) else f"{name}: {value}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if noted := config.stash.get(FIGURES, []):
        terminalreporter.section("figures")
        for line in noted:
            terminalreporter.line(line)


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
def converted_models() -> Path:
    """The sample models, converted once for all sessions on this machine."""
    folder = Path(tempfile.gettempdir()) / "appliance-test-models"
    for model in load_settings({}).models:
        prepare(model.source, model.id, folder, print)
    return folder


@pytest.fixture(scope="session")
def prepared_models(converted_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a home's ``models`` would hold; what the session adds to it goes with the session."""
    folder = tmp_path_factory.mktemp("models")
    for model in filter(Path.is_dir, converted_models.iterdir()):
        (folder / model.name).symlink_to(model)
    return folder


@pytest.fixture
async def fresh_url(empty_url: str) -> str:
    """The URL of a migrated database of this test's own, gone after it."""
    await migrations.upgrade(empty_url)
    return empty_url


@pytest.fixture
async def empty_url(database_url: str) -> AsyncIterator[str]:
    """The same before any migration."""
    name = f"test_{uuid.uuid4().hex}"
    admin = create_async_engine(async_url(database_url), isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await execute(connection, f'CREATE DATABASE "{name}"')
    url = make_url(database_url).set(database=name).render_as_string(hide_password=False)
    yield url
    async with admin.connect() as connection:
        await execute(connection, f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.dispose()
