"""What `make release` makes and what the role makes of a clone is one kind of archive, and the role unpacks it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.release.repository import Repository

ROLE = Path(__file__).parent.parent.parent / "ansible/roles/appliance"


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    """By what they do first."""
    return {task["name"].split()[0]: task for task in yaml.safe_load((ROLE / "tasks/release.yml").read_text())}


def filled(text: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        text = text.replace("{{ " + name + " }}", value)
    assert "{{" not in text
    return text


@pytest.mark.parametrize("made_by", ["make release", "the role"])
def test_an_archive_is_unpacked_without_its_folder(
    made_by: str, tasks: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "release.tar.gz"
    if made_by == "make release":
        Repository(tree).archive(archive, "appliance-0.1.0")
    else:
        variables = {"playbook_dir": str(tree / "ansible"), "appliance_made_archive": str(archive),
                     "appliance_release": "HEAD"}  # fmt: skip
        command = [filled(word, variables) for word in tasks["Make"]["ansible.builtin.command"]["argv"]]
        subprocess.run(command, check=True)
    unpack = tasks["Unpack"]["ansible.builtin.unarchive"]
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(
        ["tar", "--extract", *unpack["extra_opts"], "--file", archive, "--directory", folder], check=True
    )
    assert (folder / "scripts/install.py").is_file()
    assert (folder / "ansible/upgrade.yml").is_file()
    assert not (folder / ".git").exists()
