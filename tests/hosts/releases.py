"""Releases of this working tree, and Ansible that puts them on hosts.

A `Workshop` is a clone in which a test commits, as the operator's clone is: its playbooks make their own archives.
The hosts' packages come from this machine's caches of pip and uv, through the network's proxy where they lack one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.host import Host
from tests.hosts.image import cache
from tests.hosts.machine import command

UV_CACHE = "/srv/cache/uv"
PIP_CACHE = "/srv/cache/pip"
CERTIFICATES = "/srv/cache/certificates.crt"


@dataclass
class Workshop:
    """``folder`` is the clone, and holds the working tree as it is, but for files that git does not know."""

    folder: Path

    @property
    def ansible(self) -> Path:
        return self.folder / "ansible"

    def git(self, *arguments: str | Path) -> str:
        author = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
        return command("git", "-C", self.folder, *author, *arguments)

    def release(self, tag: str) -> None:
        """All files that git knows, as they are now. The operator's inventory is none of them."""
        self.git("add", "--update")
        self.git("commit", "--quiet", "--allow-empty", "--message", tag)
        self.git("tag", tag)

    def playbook(self, name: str, plays: Sequence[Mapping[str, Any]]) -> None:
        (self.ansible / name).write_text(yaml.safe_dump(list(plays), sort_keys=False))


def workshop(repository: Path, folder: Path) -> Workshop:
    command("git", "clone", "--quiet", "--shared", repository, folder)
    made = Workshop(folder)
    changed = command("git", "-C", repository, "diff", "HEAD", "--binary")
    if changed:
        (folder / "changed.patch").write_text(changed)
        made.git("apply", "--index", "changed.patch")
        (folder / "changed.patch").unlink()
    return made


def binds() -> list[str]:
    """For hosts that install releases: the caches of pip and uv, and the folders that pip looks into besides."""
    uv = command(Path(sys.executable).with_name("uv"), "cache", "dir").strip()
    pip = cache() / "pip"
    for folder in (Path(uv), pip):
        folder.mkdir(parents=True, exist_ok=True)
    return [f"--bind={uv}:{UV_CACHE}", f"--bind={pip}:{PIP_CACHE}", *(f"--bind-ro={one}" for one in _wheels())]


def _wheels() -> list[str]:
    return [one for one in os.environ.get("PIP_FIND_LINKS", "").split() if Path(one).is_dir()]


def install_environment(host: Host) -> dict[str, str]:
    """What ``appliance_install_environment`` says on such a host. Its packages are links into the cache of uv."""
    bundle = Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"))
    host.put(CERTIFICATES, bundle)
    return {
        "UV_CACHE_DIR": UV_CACHE,
        "UV_LINK_MODE": "symlink",
        "PIP_CACHE_DIR": PIP_CACHE,
        "PIP_FIND_LINKS": " ".join(_wheels()),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_CERT": CERTIFICATES,
        "SSL_CERT_FILE": CERTIFICATES,
        "HTTPS_PROXY": host.network.proxy_url,
    }
