"""One system for all stories: its start is the expensive part."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.scenarios.system import System, running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, prepared_models: Path) -> Iterator[System]:
    """A system that was started once and is ready."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(prepared_models)
    with running(home, free_port()) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def ready(system: System) -> System:
    """The system, ready again whatever the story before did to it."""
    system.wait_until_ready()
    return system
