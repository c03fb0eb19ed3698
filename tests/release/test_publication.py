"""A release: complete, the same for everybody who builds it, and none at all where something is missing."""

import hashlib
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.release.errors import ReleaseError
from scripts.release.locks import locked
from scripts.release.publication import publish
from scripts.release.repository import Repository
from tests.release.conftest import commit, git

VERSION = "0.1.0"


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_a_release_is_complete_and_whoever_builds_it_gets_the_same(tree: Path, tmp_path: Path) -> None:
    first = publish(tree, tmp_path / "here")
    elsewhere = tmp_path / "another" / "clone"
    git(tmp_path, "clone", "--quiet", str(tree), str(elsewhere))
    second = publish(elsewhere, tmp_path / "there")

    assert digests(first) == digests(second)
    name = f"appliance-{VERSION}"
    made = [f"{name}.tar.gz", f"{name}-py3-none-any.whl", f"{name}.cdx.json"]
    assert set(digests(first)) == {*made, "SHA256SUMS", "tag.txt"}
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=first, check=True)
    assert len((first / "SHA256SUMS").read_text().splitlines()) == 3
    in_the_archive(first / f"{name}.tar.gz", name)
    in_the_wheel(first / f"{name}-py3-none-any.whl", tree)
    in_the_bill(first / f"{name}.cdx.json", tree)
    in_the_tag(first / "tag.txt", first, tree)
    assert [file.name for file in (tmp_path / "here").iterdir()] == [VERSION]


def in_the_archive(archive: Path, top: str) -> None:
    with tarfile.open(archive) as packed:
        names = packed.getnames()
        modes = {member.name: member.mode & 0o777 for member in packed if member.isfile()}
    assert {name.split("/")[0] for name in names} == {top}
    needed = ["LICENSE", "CHANGELOG.md", "scripts/install.py", "requirements/cpu.txt", "requirements/gpu.txt"]
    needed += ["configs/models.yaml", "docs/operations.md", "ansible/roles/appliance/tasks/main.yml"]
    assert {f"{top}/{name}" for name in needed} <= set(names)
    assert modes[f"{top}/LICENSE"] == 0o644


def in_the_wheel(wheel: Path, tree: Path) -> None:
    """All of the packages, but for what makes a new migration."""
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        days = {entry.date_time[:3] for entry in packed.infolist()}
    committed = set(Repository(tree).ask("ls-files", "appliance", "billing", "serving").split())
    assert names == committed - {"billing/database/migrations/script.py.mako"}
    assert days == {(2026, 11, 30)}


def in_the_bill(bill: Path, tree: Path) -> None:
    told = json.loads(bill.read_text())
    parts = {(part["name"], part["version"]): part for part in told["components"]}
    assert set(parts) == {(package.name, package.version) for package in locked(tree / "requirements")}
    assert {part["scope"] for part in parts.values()} == {"required", "optional", "excluded"}
    assert all(part["licenses"] for part in parts.values())
    scopes = {name: part["scope"] for (name, _), part in parts.items()}
    assert [scopes[name] for name in ("fastapi", "nvidia-cublas", "pytest")] == [
        "required",
        "optional",
        "excluded",
    ]
    assert told["metadata"]["timestamp"] == "2026-11-30T12:00:00Z"


def in_the_tag(tag: Path, folder: Path, tree: Path) -> None:
    """Git keeps all of it, headings too, which it would take for comments."""
    git(tree, "tag", "--annotate", "--cleanup=verbatim", "--file", str(tag), f"v{VERSION}")
    shown = subprocess.run(
        ["git", "for-each-ref", "--format=%(contents)", f"refs/tags/v{VERSION}"],
        cwd=tree, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.startswith(f"Appliance {VERSION}\n\n### Added\n")
    assert (folder / "SHA256SUMS").read_text() in shown


def test_what_is_not_committed_is_not_published(tree: Path, tmp_path: Path) -> None:
    (tree / "notes.txt").write_text("a note")
    with pytest.raises(ReleaseError, match=r"commit or remove what is not committed: notes\.txt"):
        publish(tree, tmp_path / "releases")
    assert not (tmp_path / "releases").exists()


def test_a_version_of_which_nothing_is_told_is_not_published(tree: Path, tmp_path: Path) -> None:
    pyproject = tree / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(f'version = "{VERSION}"', 'version = "7.8.9"'))
    commit(tree)
    with pytest.raises(ReleaseError, match=r"CHANGELOG\.md says nothing of 7\.8\.9"):
        publish(tree, tmp_path / "releases")


def test_a_version_is_published_once(tree: Path, tmp_path: Path) -> None:
    git(tree, "tag", f"v{VERSION}")
    (tree / "README.md").write_text("another one")
    commit(tree)
    with pytest.raises(ReleaseError, match=rf"v{VERSION} is published already"):
        publish(tree, tmp_path / "releases")


def test_a_package_that_may_not_be_used_is_not_published(tree: Path, tmp_path: Path) -> None:
    rows = tree / "requirements/licences.csv"
    rows.write_text(rows.read_text().replace("\nfastapi,MIT,", "\nfastapi,AGPL-3.0-only,"))
    commit(tree)
    with pytest.raises(
        ReleaseError, match=r"licences: fastapi: AGPL-3\.0-only is not among the accepted licences"
    ):
        publish(tree, tmp_path / "releases")


def test_a_release_that_fails_leaves_the_one_before(tree: Path, tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    (releases / VERSION).mkdir(parents=True)
    (releases / VERSION / "kept").touch()
    pyproject = tree / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"setuptools.build_meta"', '"nobody.has_this"'))
    commit(tree)
    with pytest.raises(ReleaseError, match="the wheel cannot be built"):
        publish(tree, releases)
    assert [file.name for file in releases.rglob("*")] == [VERSION, "kept"]
