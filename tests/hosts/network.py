"""One run's own network: a bridge, a subnet that no other run has, the proxy on it, and an onlooker.

The hosts' packets never leave the bridge: nothing that comes from it is forwarded. What a run has made is written
down before it is made, so that a later run removes what one that was killed has left, and nothing else.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.hosts.image import cache
from tests.hosts.machine import cgroups, command

RUNS = 200
"""At the same time, at most: each has a number."""

PROXY_PORT = 3142
GROUP_SECONDS = 20
OUTSIDE = 250
"""The last part of the address of one who is none of the hosts."""


@dataclass
class Network:
    """``number`` is the run's; everything that it makes has it in its name."""

    number: int
    folder: Path
    proxy: subprocess.Popen[bytes] | None = None
    _next: Iterator[int] = field(default_factory=lambda: count(11))

    @property
    def bridge(self) -> str:
        return f"apht{self.number}"

    @property
    def gateway(self) -> str:
        """This machine's address on the bridge."""
        return self.address(1)

    @property
    def proxy_url(self) -> str:
        return f"http://{self.gateway}:{PROXY_PORT}"

    @property
    def key(self) -> Path:
        """With which every host lets root in."""
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def onlooker(self) -> str:
        """The network namespace of one who is none of the hosts."""
        return f"{self.bridge}-outside"

    def address(self, last: int) -> str:
        return f"10.213.{self.number}.{last}"

    def address6(self, last: int) -> str:
        return str(ipaddress.IPv6Address(f"fd00:213:{self.number:x}::{last:x}"))

    def next(self) -> int:
        """The last part of the next host's addresses."""
        return next(self._next)

    def raise_up(self) -> None:
        bridge = self.bridge
        command("ip", "link", "add", bridge, "type", "bridge")
        for file in (f"ipv4/conf/{bridge}/forwarding", f"ipv6/conf/{bridge}/forwarding"):
            Path("/proc/sys/net", file).write_text("0")
        command("ip", "addr", "add", f"{self.gateway}/24", "dev", bridge)
        command("ip", "addr", "add", f"{self.address6(1)}/64", "dev", bridge, "nodad")
        command("ip", "link", "set", bridge, "up")
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        self.known_hosts.touch()
        self.proxy = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.hosts.proxy", self.gateway,
             str(PROXY_PORT), str(cache() / "packages")],
            stdout=subprocess.PIPE, start_new_session=True, cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip
        assert self.proxy.stdout is not None
        if self.proxy.stdout.readline() != b"ready\n":
            raise RuntimeError("the proxy for packages did not start")
        self.wire("outside", OUTSIDE)

    def wire(self, name: str, last: int, *, attached: bool = True) -> str:
        """A fresh network namespace on the bridge. Returns its name; one of that name is replaced.

        Its card is the one before: with another one, nobody finds a host that was restarted for up to a minute.
        """
        space, cable, card = f"{self.bridge}-{name}", self.cable(last), f"02:00:00:00:{self.number:02x}:{last:02x}"
        command("ip", "netns", "del", space, check=False)
        command("ip", "link", "del", cable, check=False)
        command("ip", "netns", "add", space)
        command(
            "ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "address", card, "netns", space
        )
        if attached:
            command("ip", "link", "set", cable, "master", self.bridge)
        command("ip", "link", "set", cable, "up")
        inside = ("ip", "-n", space)
        command(*inside, "addr", "add", f"{self.address(last)}/24", "dev", "eth0")
        command(*inside, "addr", "add", f"{self.address6(last)}/64", "dev", "eth0", "nodad")
        for link in ("lo", "eth0"):
            command(*inside, "link", "set", link, "up")
        command(*inside, "route", "add", "default", "via", self.gateway)
        return space

    def cable(self, last: int) -> str:
        return f"{self.bridge}-{last}"

    def outside(self, *arguments: str | Path, check: bool = True, seconds: float = 60) -> str:
        """Run a program of this machine as somebody on the network who is none of the hosts."""
        return command(*inside(self.onlooker), *arguments, check=check, seconds=seconds)

    def remove(self) -> None:
        """Everything that this run has made; what is not there is no error."""
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
        remove_run(self.number, self.folder)


def inside(space: str) -> list[str]:
    """Before a program of this machine that is to run in a network namespace."""
    return ["ip", "netns", "exec", space]


@contextmanager
def network() -> Iterator[Network]:
    """A network of one's own, removed in the end with all of its hosts."""
    with locked():
        remove_leftovers()
        made = claim()
    try:
        made.raise_up()
        yield made
    finally:
        made.remove()


@contextmanager
def locked() -> Iterator[None]:
    runs().mkdir(parents=True, exist_ok=True)
    with (runs() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def runs() -> Path:
    return cache() / "runs"


def claim() -> Network:
    routes = command("ip", "route")
    for number in range(RUNS):
        folder = runs() / str(number)
        if folder.exists() or Path(f"/sys/class/net/apht{number}").exists() or f"10.213.{number}." in routes:
            continue
        folder.mkdir()
        (folder / "owner").write_text(life(os.getpid()))
        return Network(number, folder)
    raise RuntimeError(f"all of {RUNS} networks for test hosts are in use")


def life(pid: int) -> str:
    """One process and no later one of the same number, or '' when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid} {stat.rpartition(')')[2].split()[19]}"


def remove_leftovers() -> None:
    """Of runs of this cache whose process is no more."""
    for folder in runs().iterdir():
        if not folder.is_dir():
            continue
        owner = (folder / "owner").read_text() if (folder / "owner").exists() else ""
        if not owner or life(int(owner.split()[0])) != owner:
            remove_run(int(folder.name), folder)


def remove_run(number: int, folder: Path) -> None:
    """In this order: processes, mounts, networks, groups, files."""
    prefix = f"apht{number}"
    for top in cgroups():
        for group in top.glob(f"{prefix}-*"):
            empty_group(group)
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        mounted = line.split(" ")[1]
        if mounted.startswith(f"{folder}/"):
            command("umount", "--lazy", mounted, check=False)
    for space in Path("/run/netns").glob(f"{prefix}-*"):
        command("ip", "netns", "del", space.name, check=False)
    command("ip", "link", "del", prefix, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def empty_group(group: Path) -> None:
    """End what still runs in a group, then take it away. A process that was killed needs a moment to be gone."""
    deadline = time.monotonic() + GROUP_SECONDS
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):  # groups and processes go while they are looked at
            for file in group.rglob("cgroup.procs"):
                for pid in file.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
        folders = sorted((one for one in group.rglob("*") if one.is_dir()), key=lambda one: -len(one.parts))
        for one in (*folders, group):
            with suppress(OSError):
                one.rmdir()
        time.sleep(0.05)
