"""The work tree as it stands, committed in a clone and with a day of release: what would be published."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.release.repository import Repository

ROOT = Path(__file__).parent.parent.parent
WHO = {"NAME": "Test", "EMAIL": "test@example.com", "DATE": "2026-11-30T12:00:00Z"}
AUTHOR = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}


def git(folder: Path, *arguments: str) -> None:
    environment = os.environ | AUTHOR | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it stands")


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("standing")
    listed = Repository(ROOT).ask("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    changelog = place / "CHANGELOG.md"
    changelog.write_text(
        changelog.read_text().replace("## [Unreleased]", "## [Unreleased]\n\n## [0.1.0] - 2026-11-30", 1)
    )
    git(place, "init", "--quiet", "--initial-branch=main")
    commit(place)
    return place


@pytest.fixture
def tree(standing: Path, tmp_path: Path) -> Path:
    """A clone of it that a test may change."""
    git(tmp_path, "clone", "--quiet", str(standing), "tree")
    return tmp_path / "tree"
