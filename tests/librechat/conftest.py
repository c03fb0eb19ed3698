"""A database that speaks MongoDB's protocol, and one of its databases for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from secantus import SecantusDBServer


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("mongo"))) as server:
        yield server.uri


@pytest.fixture
def mongo_uri(mongo_server: str) -> str:
    """The address of a database that is this test's own."""
    return f"{mongo_server}chat_{uuid4().hex}"
