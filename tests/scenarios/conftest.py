"""One system for all stories: its start is the expensive part."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from secantus import SecantusDBServer

from tests.ports import free_port
from tests.scenarios.system import System, running

PARTNERS_KEY = "sk-of-the-operator"
CHAT = "https://chat.example"
"""Where customers would find it: what it asks comes from the tests."""
MONGO = "mongodb://127.0.0.1:1/LibreChat"
"""Nobody is there: no account is deleted."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The stories that change the models come last: to change them back takes minutes."""
    last = ("test_partners.py", "test_models.py")
    items.sort(key=lambda item: last.index(item.path.name) if item.path.name in last else -1)


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the chat's database."""
    with SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("mongo"))) as server:
        yield f"{server.uri}LibreChat"


@pytest.fixture(scope="session")
def system(prepared_models: Path, mongo: str) -> Iterator[System]:
    """A system that was started once and is ready."""
    with started(prepared_models, mongo) as system:
        yield system


@contextmanager
def started(models: Path, mongo: str = MONGO, **ray: str) -> Iterator[System]:
    """Not below pytest's own folder, which each pytest that starts closes to every other user, PostgreSQL's too.

    ``ray`` is what appliance.yaml says of it besides its port.
    """
    with tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True) as home:
        (Path(home) / "models").symlink_to(models)
        config = Path(home) / "appliance.yaml"
        config.write_text(yaml.safe_dump({"ray": {"port": free_port(), **ray}, "chat": {"address": CHAT}}))
        with running(Path(home), free_port(), {"APPLIANCE_CONFIG": str(config), "MONGO_URI": mongo}) as system:
            system.wait_until_ready()
            yield system


@pytest.fixture
def ready(system: System) -> System:
    """The system, ready again whatever the story before did to it."""
    system.wait_until_ready()
    return system


@pytest.fixture(scope="module")
def partner() -> Iterator[str]:
    """The address of a partner that takes its time."""
    port = free_port()
    options = ("--port", str(port), "--key", PARTNERS_KEY, "--interval", "0.01")
    process = subprocess.Popen([sys.executable, "-m", "tests.fake_partner", *options])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
