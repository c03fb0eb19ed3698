"""What another host can reach of a system on a single node that listens for this machine alone: nothing."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest

from tests.scenarios.system import System

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

THIS_HOST, OTHER_HOST = "198.18.77.1", "198.18.77.2"
ANOTHER_LOOPBACK = "127.0.0.3"
CONNECT = """
import socket, sys
host, *ports = sys.argv[1:]
for port in ports:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        continue
    print(port)
"""

Reached = Callable[[Sequence[int]], set[int]]


def _connected(host: str, ports: Sequence[int], within: Sequence[str] = ()) -> set[int]:
    command = [*within, sys.executable, "-c", CONNECT, host, *map(str, ports)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(map(int, done.stdout.split()))


def _from_another_address() -> Iterator[Reached]:
    """What listens on 127.0.0.1 does not hear this; what listens on all addresses does."""
    yield lambda ports: _connected(ANOTHER_LOOPBACK, ports)


def _from_another_host() -> Iterator[Reached]:
    """A network namespace at the other end of a cable."""
    name, here, there = "appliance-far", "appliance-here", "appliance-there"
    within = ("ip", "netns", "exec", name)
    with contextlib.ExitStack() as stack:
        for command in (
            ("ip", "netns", "add", name),
            ("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name),
            ("ip", "address", "add", f"{THIS_HOST}/30", "dev", here),
            ("ip", "link", "set", here, "up"),
            (*within, "ip", "address", "add", f"{OTHER_HOST}/30", "dev", there),
            (*within, "ip", "link", "set", there, "up"),
        ):
            try:
                subprocess.run(command, capture_output=True, text=True, check=True)
            except FileNotFoundError:
                pytest.skip("no `ip` on this machine")
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
            if command[1:3] == ("netns", "add"):
                stack.callback(subprocess.run, ("ip", "netns", "delete", name), check=False)
        yield lambda ports: _connected(THIS_HOST, ports, within)


@pytest.fixture(params=[_from_another_address, _from_another_host], ids=["address", "host"])
def reached(request: pytest.FixtureRequest) -> Iterator[Reached]:
    """Which of these ports take a connection."""
    yield from request.param()


def test_nothing_is_reached_from_elsewhere(ready: System, reached: Reached) -> None:
    ports = _listening(ready)
    assert len(ports) > 5  # Ray's services and workers, the replicas', the gateway's
    assert reached(sorted(ports)) == set()


def test_what_listens_for_all_is_reached(reached: Reached) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        assert reached([port]) == {port}


def test_the_doctor_finds_no_open_port(ready: System) -> None:
    (finding,) = [finding for finding in ready.ask("doctor") if finding["check"] == "network"]
    assert finding["verdict"] == "ok", finding


def _listening(system: System) -> set[int]:
    supervisor = psutil.Process(system.process.pid)
    found: set[int] = set()
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            connections = process.net_connections(kind="tcp")
            found |= {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return found
