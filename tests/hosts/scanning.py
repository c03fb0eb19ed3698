"""Which ports of a host the world reaches: each is tried from outside, and the host notes what came through."""

from __future__ import annotations

import json
from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.network import OUTSIDE, Network

HERE = Path(__file__).parent
WATCH = """
table inet watch {
    set tcp_seen { type inet_service; flags dynamic; size 65536; }
    set udp_seen { type inet_service; flags dynamic; size 65536; }
    chain noted {
        ct state new tcp flags syn update @tcp_seen { tcp dport }
        ct state new meta l4proto udp update @udp_seen { udp dport }
    }
    chain passed {
        type filter hook input priority 100
        ip saddr SOMEBODY4 jump noted
        ip6 saddr SOMEBODY6 jump noted
    }
}
"""
"""Behind the firewall: the ports of an onlooker's packets that it let through."""

SPRAY = """
import socket, sys, time
address = sys.argv[1]
sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1, 65536):
    sender.sendto(b"x", (address, port))
    if port % 64 == 0:
        time.sleep(0.002)
"""
"""A datagram for each port, no faster than the host takes them."""


def scan(net: Network, host: Host, tcp: list[int], udp: list[int]) -> None:
    """Every port of both protocols, of both addresses, from outside; and what the firewall let through of them."""
    watch(net, host)
    for address in (host.address, host.address6):
        assert open_ports(net, address) == tcp
        spray(net, address)
    assert watched(host) == (tcp, udp)
    forget(host)


def open_ports(net: Network, address: str) -> list[int]:
    """Of TCP, by connecting to each."""
    net.outside("ip", "neigh", "flush", "dev", "eth0")  # a host that was restarted has another card
    return [int(port) for port in net.outside("python3", HERE / "scan.py", address, seconds=180).split()]


def spray(net: Network, address: str) -> None:
    """A datagram to every port of UDP."""
    net.outside("python3", "-c", SPRAY, address, seconds=120)


def watch(net: Network, host: Host) -> None:
    """From now on it notes what passes its firewall from outside."""
    rules = WATCH.replace("SOMEBODY4", net.address(OUTSIDE)).replace("SOMEBODY6", net.address6(OUTSIDE))
    host.put("/srv/watch.nft", rules)
    host.run("nft", "-f", "/srv/watch.nft")


def watched(host: Host) -> tuple[list[int], list[int]]:
    """The ports of TCP and of UDP to which something came through since."""
    return _seen(host, "tcp"), _seen(host, "udp")


def forget(host: Host) -> None:
    host.run("nft", "delete", "table", "inet", "watch")


def _seen(host: Host, protocol: str) -> list[int]:
    listed = json.loads(host.run("nft", "--json", "list", "set", "inet", "watch", f"{protocol}_seen"))["nftables"]
    return sorted(listed[1]["set"].get("elem", []))
