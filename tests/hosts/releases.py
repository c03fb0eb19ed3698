"""Releases of this working tree, and Ansible that puts them on hosts.

A `Workshop` is a clone in which a test commits, as the operator's clone is: its playbooks make their own archives.
The hosts' packages come from this machine's caches of pip and uv, through the network's proxy where they lack one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.host import Host
from tests.hosts.image import cache
from tests.hosts.machine import command
from tests.hosts.network import Network

UV_CACHE = "/srv/cache/uv"
PIP_CACHE = "/srv/cache/pip"
CERTIFICATES = "/srv/cache/certificates.crt"
PLAY_SECONDS = 1500


@dataclass
class Workshop:
    """``folder`` is the clone, and holds the working tree as it is, but for files that git does not know."""

    folder: Path

    def git(self, *arguments: str | Path) -> str:
        author = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
        return command("git", "-C", self.folder, *author, *arguments)

    def release(self, tag: str) -> None:
        """All that the folder holds now."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", tag)
        self.git("tag", tag)

    def playbook(self, name: str, plays: Sequence[Mapping[str, Any]]) -> None:
        (self.folder / "ansible" / name).write_text(yaml.safe_dump(list(plays), sort_keys=False))


def workshop(repository: Path, folder: Path) -> Workshop:
    command("git", "clone", "--quiet", "--shared", repository, folder)
    made = Workshop(folder)
    changed = command("git", "-C", repository, "diff", "HEAD", "--binary")
    if changed:
        (folder / "changed.patch").write_text(changed)
        made.git("apply", "changed.patch")
        (folder / "changed.patch").unlink()
    return made


@dataclass
class Played:
    """What a playbook did: tasks by their outcome, of all hosts together."""

    output: str
    changed: int
    failed: int


@dataclass
class Control:
    """The machine that runs Ansible, with its inventory: the groups' hosts, and the variables of all."""

    workshop: Workshop
    network: Network
    groups: Mapping[str, Sequence[Host]]
    variables: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Variables of a host, by its name."""

    @property
    def inventory(self) -> Path:
        return self.workshop.folder / "var" / "inventory.yml"

    def write(self) -> None:
        def entry(host: Host) -> dict[str, Any]:
            options = " ".join(host.ssh_options())
            return {
                "ansible_host": host.address, "ansible_user": "root", "ansible_ssh_common_args": options,
                "ansible_python_interpreter": "/usr/bin/python3", **self.own.get(host.name, {}),
            }  # fmt: skip

        children = {
            name: {"hosts": {host.name: entry(host) for host in hosts}} for name, hosts in self.groups.items()
        }
        document = {"all": {"vars": dict(self.variables), "children": children}}
        self.inventory.parent.mkdir(exist_ok=True)
        self.inventory.write_text(yaml.safe_dump(document, sort_keys=False))

    def play(self, name: str, *options: str, check: bool = True) -> Played:
        """Raises AssertionError with what Ansible said when a task failed."""
        self.write()
        env = {**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "NO_COLOR": "1"}
        env |= {"ANSIBLE_HOST_KEY_CHECKING": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [ansible_playbook(), "-i", self.inventory, *options, self.workshop.folder / "ansible" / name],
            env=env, cwd=self.workshop.folder, capture_output=True, text=True, timeout=PLAY_SECONDS, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{done.stdout[-12000:]}\n{done.stderr[-2000:]}"
        recap = done.stdout.partition("PLAY RECAP")[2]
        counted = {word: sum(_counts(recap, word)) for word in ("changed", "failed")}
        return Played(done.stdout, **counted)


def _counts(recap: str, word: str) -> Iterator[int]:
    for part in recap.split():
        name, _, number = part.partition("=")
        if name == word:
            yield int(number)


def ansible_playbook() -> str:
    """The one that ``make install-ansible`` installs, or the one on PATH."""
    own = Path(__file__).parent.parent.parent / ".venv-ansible" / "bin" / "ansible-playbook"
    found = str(own) if own.exists() else shutil.which("ansible-playbook")
    if found is None:
        raise RuntimeError("there is no ansible-playbook: make install-ansible")
    return found


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
