"""A host: a system with systemd as process 1, on its own disk (an overlay over the image) and its own network."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts.image import image
from tests.hosts.machine import cgroups, command
from tests.hosts.network import Network
from tests.record import Ordeal, record

REBOOT = 133
"""What systemd-nspawn ends with when the host wants to be started again."""

POWER_OFF = signal.SIGRTMIN + 4
"""To process 1: what the button of a machine does."""

ENTER = """for group in "$@"; do
    shift
    [ "$group" = -- ] && break
    echo $$ > "$group/cgroup.procs"
done
exec "$@"
"""
"""Shell that joins the control groups before ``--`` and becomes the program behind it."""

BOOT_SECONDS = 120
OFF_SECONDS = 60


@dataclass
class Host:
    """``binds`` are folders of this machine that the host sees, as systemd-nspawn writes them:
    ``--bind-ro=/opt/wheels``. ``name`` is at most eight characters long."""

    network: Network
    name: str
    binds: Sequence[str] = ()
    attached: bool = field(default=True, init=False)
    boots: int = field(default=0, init=False)
    _nspawn: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _keeper: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.last = self.network.next()
        self.folder = self.network.folder / self.name
        self.root = self.folder / "root"

    @property
    def address(self) -> str:
        return self.network.address(self.last)

    @property
    def address6(self) -> str:
        return self.network.address6(self.last)

    @property
    def console(self) -> Path:
        """What the host has said while it started."""
        return self.folder / "console.log"

    def start(self) -> float:
        """Power on. Returns the seconds until it answered, with all of its services started."""
        began = time.monotonic()
        if not self.folder.exists():
            self._unpack()
            record(Ordeal.HOSTS)
        before = self.boots
        self._keeper = threading.Thread(target=self._keep, name=self.name, daemon=True)
        self._keeper.start()
        self._wait_for_boot(before)
        return time.monotonic() - began

    def stop(self) -> None:
        """Power off in order, and come back when it is off."""
        self._signal(POWER_OFF)
        self._wait_for_off()

    def kill(self) -> None:
        """Pull the plug: no process of it has time for a last word. Its disk stays."""
        self._signal(signal.SIGKILL)
        self._wait_for_off()
        record(Ordeal.POWER_CUTS)

    def reboot(self) -> float:
        """In order. Returns the seconds until it answered again."""
        began, before = time.monotonic(), self.boots
        self.run("systemctl", "reboot", check=False)
        self._wait_for_boot(before)
        record(Ordeal.POWER_CUTS)
        return time.monotonic() - began

    def remove(self) -> None:
        """As if it had never been there."""
        self._signal(signal.SIGKILL)
        self._wait_for_off()
        command("umount", "--lazy", self.root, check=False)
        command("ip", "netns", "del", self._space, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def cut_off(self) -> None:
        """Its cable is out of the bridge: packets are lost in silence, and the host sees its link up."""
        self.attached = False
        record(Ordeal.POWER_CUTS)
        command("ip", "link", "set", self.network.cable(self.last), "nomaster")

    def heal(self) -> None:
        """Its cable is in again."""
        self.attached = True
        command("ip", "link", "set", self.network.cable(self.last), "master", self.network.bridge)

    @property
    def on(self) -> bool:
        return self._keeper is not None and self._keeper.is_alive()

    def answers(self) -> bool:
        """To SSH, within two seconds."""
        return self.ssh("true", seconds=10, connect_seconds=2).returncode == 0

    def ssh(
        self, line: str, *, data: bytes | None = None, seconds: float = 60, connect_seconds: int = 10
    ) -> subprocess.CompletedProcess[bytes]:
        """One line of shell as root, over SSH. Raises TimeoutExpired beyond ``seconds``."""
        options = [*self.ssh_options(), "-o", f"ConnectTimeout={connect_seconds}"]
        return subprocess.run(
            ["ssh", *options, f"root@{self.address}", line],
            input=data or b"", capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip

    def ssh_options(self) -> list[str]:
        return [
            "-i", str(self.network.key), "-o", f"UserKnownHostsFile={self.network.known_hosts}",
            "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6",
        ]  # fmt: skip

    def run(self, *arguments: str | Path, check: bool = True, seconds: float = 60) -> str:
        """A program on the host, over SSH: its standard output. Raises RuntimeError when it fails."""
        done = self.ssh(shlex.join(map(str, arguments)), seconds=seconds)
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise RuntimeError(f"{self.name}: {shlex.join(map(str, arguments))}: status {done.returncode}\n{said}")
        return done.stdout.decode(errors="replace")

    def inside(self, *arguments: str | Path, check: bool = True, seconds: float = 60) -> str:
        """The same without its network, for a host that is cut off."""
        return command("nsenter", "--all", f"--target={self._leader()}", *arguments, check=check, seconds=seconds)

    def put(self, path: str | Path, content: bytes | str | Path, *, mode: int = 0o644) -> None:
        """A file on the host, with the folders above it; a path is a file of this machine."""
        data = content.read_bytes() if isinstance(content, Path) else content
        data = data.encode() if isinstance(data, str) else data
        done = self.ssh(f"install -D -m {mode:o} /dev/stdin {shlex.quote(str(path))}", data=data, seconds=300)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {path}: {done.stderr.decode(errors='replace')}")

    def knows(self, names: Mapping[str, str]) -> None:
        """Addresses by name, beside its own."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{self.address} {self.name}"]
        self.put("/etc/hosts", "\n".join([*lines, *(f"{there} {name}" for name, there in names.items()), ""]))

    def runs(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", unit, check=False) == "active\n"

    def show(self, unit: str, name: str) -> str:
        """One that `systemctl show` knows."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def exposure(self, unit: str) -> float:
        """What `systemd-analyze security` says of a service: 0 is shut in, 10 is open."""
        said = self.run("systemd-analyze", "security", "--no-pager", unit, check=False)
        return float(said.rpartition("Overall exposure level for ")[2].partition(":")[2].split()[0])

    def main_pid(self, unit: str) -> int:
        """Of a service, as the host counts processes; 0 when it does not run."""
        return int(self.show(unit, "MainPID") or 0)

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 60) -> None:
        """Until it is so. Raises TimeoutError with ``what`` and the host's last words."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: not within {seconds:.0f} s: {what}\n{self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        return self.console.read_text(errors="replace")[-4000:] if self.console.exists() else ""

    @property
    def _space(self) -> str:
        return f"{self.network.bridge}-{self.name}"

    def _unpack(self) -> None:
        """A disk of its own over the image, with its name, its keys, and the way to the packages."""
        for one in ("upper", "work", "root"):
            (self.folder / one).mkdir(parents=True)
        layers = f"lowerdir={image()},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        command("mount", "-t", "overlay", self._space, "-o", layers, self.root)
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{self.address} {self.name}\n")
        (self.root / "etc/apt/apt.conf.d/90test-hosts").write_text(
            f'Acquire::http::Proxy "{self.network.proxy_url}";\nAcquire::http::Pipeline-Depth "0";\n'
        )
        ssh = self.root / "root/.ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self.network.key.with_suffix(".pub"), ssh / "authorized_keys")
        command("ssh-keygen", "-q", "-A", "-f", self.root)
        public = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        with self.network.known_hosts.open("a") as known:
            known.write(f"{self.address} {' '.join(public)}\n")

    def _keep(self) -> None:
        """One thread for as long as the host is on: it starts it again when it reboots. When this process is
        killed, its threads are, and with them the host is powered off."""
        code = REBOOT
        while code == REBOOT:
            self.network.wire(self.name, self.last, attached=self.attached)
            self._nspawn = self._boot()
            self.boots += 1
            code = self._nspawn.wait()

    def _boot(self) -> subprocess.Popen[bytes]:
        groups = [top / self._space for top in cgroups()]
        for group in groups:
            group.mkdir(exist_ok=True)
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", "--console=pipe", f"--machine={self.name}",
            f"--directory={self.root}", f"--network-namespace-path=/run/netns/{self._space}",
            "--capability=CAP_NET_ADMIN", *self.binds,
            "systemd.log_target=console",
        ]  # fmt: skip
        with self.console.open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "sh", "-c", ENTER, "sh", *map(str, groups), "--", *nspawn],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _leader(self) -> int:
        """The host's process 1, as this machine counts processes."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _signal(self, number: int) -> None:
        if self.on:
            os.kill(self._leader(), number)

    def _wait_for_boot(self, boots_before: int) -> None:
        def started() -> bool:
            if not self.on:
                raise RuntimeError(f"{self.name} does not start:\n{self._last_words()}")
            if self.boots == boots_before:
                return False
            if not self.attached:
                return True
            said = self.ssh("systemctl is-system-running --wait", seconds=BOOT_SECONDS, connect_seconds=1).stdout
            return said.strip() in (b"running", b"degraded")

        self.wait("it answers", started, BOOT_SECONDS)

    def _wait_for_off(self) -> None:
        if self._keeper is not None:
            self._keeper.join(OFF_SECONDS)
            if self._keeper.is_alive():
                raise TimeoutError(f"{self.name} is not off after {OFF_SECONDS} s")


@contextmanager
def hosts_on(network: Network) -> Iterator[Callable[..., Host]]:
    """Starts a fresh host with each call; in the end all of them are removed."""
    made: list[Host] = []

    def start(name: str, *binds: str) -> Host:
        made.append(Host(network, name, binds))
        made[-1].start()
        return made[-1]

    try:
        yield start
    finally:
        for host in made:
            host.remove()
