"""The embedded PostgreSQL."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from appliance.postgres import SOCKET_NAME, SOCKET_PATH_LIMIT_BYTES, Cluster, socket_directory
from tests.appliance.postgres_server import running_cluster


async def test_it_answers_and_is_version_18(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("show server_version"))).scalar_one().startswith("18.")
    await engine.dispose()


@pytest.fixture(scope="module")
def sold() -> Iterator[Cluster]:
    """Run as the appliance runs it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("log_statement", "none"),
        ("log_min_error_statement", "panic"),
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
    ],
)
async def test_commits_are_durable_and_no_statement_is_logged(sold: Cluster, setting: str, value: str) -> None:
    engine = create_async_engine(sold.url())
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"show {setting}"))).scalar_one() == value
    await engine.dispose()


def test_only_its_owner_reaches_the_socket(postgres_cluster: Cluster) -> None:
    assert stat.S_IMODE(postgres_cluster.sockets.stat().st_mode) == 0o700


def test_a_cluster_is_created_once(postgres_cluster: Cluster) -> None:
    assert postgres_cluster.initialise() is False


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_one_that_stays() -> None:
    wanted = Path("/x" + "/a-long-folder-name" * 8)
    chosen = socket_directory(wanted)
    assert len(str(chosen / SOCKET_NAME)) <= SOCKET_PATH_LIMIT_BYTES
    assert chosen == socket_directory(wanted)
    assert chosen != socket_directory(wanted / "other")
