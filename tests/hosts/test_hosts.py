"""The hosts themselves: what the other tests stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import machine
from tests.hosts.host import Host
from tests.hosts.network import PROXY_PORT, Network, locked, remove_leftovers, runs

pytestmark = pytest.mark.hosts


def test_a_host_lives_through_what_hosts_live_through(net: Network) -> None:
    host = Host(net, "one")
    booted = host.start()
    assert host.run("cat", "/proc/1/comm") == "systemd\n"
    assert host.run("systemctl", "is-system-running", check=False) == "running\n"
    assert host.run("hostname") == "one\n"

    host.put("/srv/kept/word", "written before\n", mode=0o600)
    host.put("/run/lost", "in memory\n")
    rebooted = host.reboot()
    assert host.run("cat", "/srv/kept/word") == "written before\n"
    assert "No such file" in host.ssh("cat /run/lost").stderr.decode()

    host.cut_off()
    assert not host.answers()
    assert host.inside("python3", "-c", connect(net.gateway, PROXY_PORT), check=False) == ""
    host.heal()
    host.wait("it answers again", host.answers)

    host.kill()
    assert not host.answers()
    host.start()
    assert host.run("cat", "/srv/kept/word") == "written before\n"

    host.stop()
    assert not host.on
    host.remove()
    assert not host.folder.exists()
    assert "one" not in machine.command("ip", "netns")
    assert str(host.root) not in Path("/proc/self/mounts").read_text()
    print(f"booted in {booted:.1f} s, rebooted in {rebooted:.1f} s")  # noqa: T201


def test_hosts_reach_each_other_and_packages_but_nothing_else(net: Network, new_host: Callable[..., Host]) -> None:
    left, right = new_host("left"), new_host("right")
    for address in (left.address, left.address6):
        assert b"SSH-2.0" in right.ssh(f'python3 -c "{connect(address, 22)}"').stdout
    assert "Reading package lists" in left.run("apt-get", "update", seconds=120)
    assert b"timed out" in left.ssh(f'python3 -c "{connect("198.51.100.7", 80)}" 2>&1').stdout
    assert "SSH-2.0" in net.outside("python3", "-c", connect(left.address, 22))


def connect(address: str, port: int) -> str:
    """Python that prints what a port says first."""
    return f"import socket; print(socket.create_connection(('{address}', {port}), 5).recv(30))"


def test_what_a_killed_run_leaves_is_removed_by_the_next_and_nothing_of_one_that_lives(net: Network) -> None:
    living = Host(net, "living")
    living.start()
    code = (
        "import time\nfrom tests.hosts.host import Host\nfrom tests.hosts.network import network\n"
        "with network() as made:\n    Host(made, 'doomed').start()\n    print(made.number, flush=True)\n"
        "    time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    number = int(other.stdout.readline())
    assert number != net.number
    os.kill(other.pid, signal.SIGKILL)
    other.wait()

    with locked():
        remove_leftovers()
    assert not (runs() / str(number)).exists()
    assert f"apht{number}-" not in machine.command("ip", "netns")
    assert not Path(f"/sys/class/net/apht{number}").exists()
    assert not [group for top in machine.cgroups() for group in top.glob(f"apht{number}-*")]
    assert "--machine=doomed" not in machine.command("ps", "-e", "-o", "args")
    assert living.answers()
    living.remove()


def test_a_machine_that_cannot_have_hosts_says_why_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.lacks() == ""
    monkeypatch.setenv("APPLIANCE_TEST_SYSTEM", "plan9")
    assert machine.lacks() == "APPLIANCE_TEST_SYSTEM is plan9; it has to be one of debian-12, ubuntu-24.04"
    monkeypatch.setenv("APPLIANCE_TEST_SYSTEM", "")
    monkeypatch.setattr(machine, "PROGRAMS", {"no-such-program": "no-such-package"})
    assert machine.lacks() == "test hosts need programs that are not here: apt install no-such-package"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.lacks() == "test hosts need root, for namespaces and mounts: run this as root"
