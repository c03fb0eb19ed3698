"""A version's folder: source archive, wheel, bill of materials, checksums, and the text of its tag."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from scripts.release import changelog, licences, sbom
from scripts.release.errors import ReleaseError
from scripts.release.locks import locked
from scripts.release.repository import Repository

CHECKSUMS = "SHA256SUMS"
TAG = "tag.txt"


def publish(root: Path, releases: Path) -> Path:
    """The folder of the version in pyproject.toml, below ``releases``. An older one is replaced once all is well.

    Raises:
        ReleaseError: something is not committed, not told, not licensed, or cannot be built.
    """
    repository = Repository(root)
    version = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    repository.require_clean()
    repository.require_free(f"v{version}")
    news = changelog.section((root / "CHANGELOG.md").read_text(), version)
    require_licences(root)
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=releases, prefix=".making-") as made:
        folder = Path(made) / version
        folder.mkdir()
        fill(folder, repository, version)
        sums = checksums(folder)
        (folder / CHECKSUMS).write_text(sums)
        (folder / TAG).write_text(f"Appliance {version}\n\n{news}\n\n### SHA-256\n\n{sums}")
        final = releases / version
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)
    return final


def require_licences(root: Path) -> None:
    found = licences.check(root)
    if found:
        raise ReleaseError(f"licences: {found[0]}" + (f", and {len(found) - 1} more" if found[1:] else ""))


def fill(folder: Path, repository: Repository, version: str) -> None:
    """What the checksums are of."""
    name = f"{sbom.PRODUCT}-{version}"
    archive = folder / f"{name}.tar.gz"
    repository.archive(archive, name)
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(archive) as packed:
            packed.extractall(place, filter="data")
        build_wheel(Path(place) / name, folder, repository.committed_at())
    requirements = repository.root / "requirements"
    known = {row.package: row.licence for row in licences.read(requirements / "licences.csv")}
    bill = sbom.bill(version, repository.commit(), repository.committed_at(), locked(requirements), known)
    (folder / f"{name}.cdx.json").write_text(bill)


def build_wheel(source: Path, into: Path, at: int) -> None:
    """Of the archive's content, with the setuptools that the locks name. ``at`` is the time of its files."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(into)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(at)}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, umask=0o022, check=False)
    if built.returncode != 0:
        raise ReleaseError(f"the wheel cannot be built: {built.stderr.strip()}")


def checksums(folder: Path) -> str:
    """As `sha256sum --check` reads them."""
    files = sorted(folder.iterdir())
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
