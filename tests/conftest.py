"""What every test may ask for."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from appliance.postgres import Cluster
from appliance.settings import load_settings
from billing.database import migrations
from billing.database.db import async_url, execute
from serving.weights.prepare import prepare
from tests.appliance.postgres_server import IN_HASTE, in_memory, running_cluster

Figure = Callable[[str, object], None]
FIGURES = pytest.StashKey[list[str]]()

settings.register_profile("by what is true, not by how long it takes", deadline=None)
settings.load_profile("by what is true, not by how long it takes")


@pytest.fixture(scope="session")
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
    """A real PostgreSQL 18 of this test session. It does not wait for the disk: half of all tests' time."""
    with running_cluster(IN_HASTE, in_memory()) as cluster:
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


@pytest.fixture(scope="session")
def migrated_database(database_url: str) -> str:
    """The name of a database that is migrated and that nobody uses: others are made after it."""
    name = "migrated"

    async def make() -> None:
        await _on_server(database_url, f'CREATE DATABASE "{name}"')
        await migrations.upgrade(_url_of(database_url, name))

    asyncio.run(make())
    return name


@pytest.fixture
async def fresh_url(database_url: str, migrated_database: str) -> AsyncIterator[str]:
    """The URL of a migrated database of this test's own, gone after it."""
    async with _own_database(database_url, f'TEMPLATE "{migrated_database}" STRATEGY FILE_COPY') as url:
        yield url


@pytest.fixture
async def empty_url(database_url: str) -> AsyncIterator[str]:
    """The same before any migration."""
    async with _own_database(database_url) as url:
        yield url


@asynccontextmanager
async def _own_database(server: str, like: str = "") -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    await _on_server(server, f'CREATE DATABASE "{name}" {like}')
    yield _url_of(server, name)
    await _on_server(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _url_of(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def _on_server(server: str, statement: str) -> None:
    admin = create_async_engine(async_url(server), isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await execute(connection, statement)
    await admin.dispose()
