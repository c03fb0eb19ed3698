"""A vendor's APT repository where the real one cannot be had: small packages, an index, a key of its own."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from tests.hosts.machine import command


@dataclass
class Package:
    """``files`` by their path on the host; what begins with ``#!`` can be executed."""

    name: str
    version: str = "1.0"
    depends: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    postinst: str = ""


@dataclass
class Repository:
    """A flat one, which calls itself ``origin``. ``fingerprint`` is its key's, which lies there as ``key.pub``."""

    folder: Path
    fingerprint: str
    url: str
    origin: str

    def build(self, *packages: Package | Path) -> None:
        """With these alone; a path is a package that is ready, in ``folder``."""
        debs = [package if isinstance(package, Path) else self._deb(package) for package in packages]
        entries = [self._entry(deb) for deb in debs]
        index = "\n".join(entries).encode()
        (self.folder / "Packages").write_bytes(index)
        (self.folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
        sums = "\n".join(f" {self._sum(name)} {name}" for name in ("Packages", "Packages.gz"))
        (self.folder / "Release").write_text(
            f"Origin: {self.origin}\nLabel: Stub\nDate: {now()}\nSHA256:\n{sums}\n"
        )
        self._gpg("--clearsign", "--output", self.folder / "InRelease", self.folder / "Release")

    def of(self, role: str) -> dict[str, str]:
        """The variables by which a role takes its packages from here."""
        return {
            f"{role}_repository_url": self.url,
            f"{role}_key_url": f"{self.url}/key.pub",
            f"{role}_key_fingerprint": self.fingerprint,
        }

    def _sum(self, name: str) -> str:
        content = (self.folder / name).read_bytes()
        return f"{hashlib.sha256(content).hexdigest()} {len(content)}"

    def _deb(self, package: Package) -> Path:
        tree = self.folder / "build" / package.name
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        depends = f"Depends: {package.depends}\n" if package.depends else ""
        (control / "control").write_text(
            f"Package: {package.name}\nVersion: {package.version}\nArchitecture: all\n"
            f"Maintainer: A test <a@example.com>\n{depends}Description: A stub\n"
        )
        scripts = {"DEBIAN/postinst": package.postinst} if package.postinst else {}
        for path, content in {**package.files, **scripts}.items():
            file = tree / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(0o755 if content.startswith("#!") else 0o644)
        deb = self.folder / f"{package.name}_{package.version}_all.deb"
        command("dpkg-deb", "--root-owner-group", "--build", tree, deb)
        shutil.rmtree(tree)
        return deb

    def _entry(self, deb: Path) -> str:
        control = command("dpkg-deb", "--field", deb)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        return f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"

    def _gpg(self, *arguments: str | Path) -> str:
        return gpg(self.folder, *arguments)


def gpg(folder: Path, *arguments: str | Path) -> str:
    home = folder / "gpg"
    home.mkdir(mode=0o700, exist_ok=True)
    quiet = ("--batch", "--yes", "--passphrase", "", "--pinentry-mode", "loopback")
    return command("gpg", "--homedir", home, *quiet, *arguments)


def forget_agent(folder: Path) -> None:
    """End what GnuPG has started for the keys of ``folder``."""
    subprocess.run(["gpgconf", "--homedir", str(folder / "gpg"), "--kill", "all"], check=False)


def now() -> str:
    """As APT wants it."""
    return formatdate(usegmt=True).replace("GMT", "UTC")


def make_key(folder: Path) -> str:
    """Its fingerprint. The key that signs ``folder`` lies there as ``key.pub``."""
    gpg(folder, "--quick-generate-key", "Stub <stub@example.com>", "ed25519", "sign", "never")
    (folder / "key.pub").write_text(gpg(folder, "--armor", "--export"))
    found = re.search(r"^fpr:+([0-9A-F]+):", gpg(folder, "--list-keys", "--with-colons"), re.MULTILINE)
    assert found is not None
    return found[1]


@contextmanager
def repository(folder: Path, address: str, origin: str = "Stub") -> Iterator[Repository]:
    """Served by HTTP at ``address`` until the end."""
    folder.mkdir(parents=True)
    fingerprint = make_key(folder)
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Repository(folder, fingerprint, f"http://{address}:{server.server_port}", origin)
    finally:
        server.shutdown()
        forget_agent(folder)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""
