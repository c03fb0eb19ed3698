"""Every TCP port of a host, as somebody sees it who is none of the others: ``python scan.py ADDRESS``.

Prints the ports that accept a connection. Standard library alone, as it runs in the onlooker's network namespace.
"""

from __future__ import annotations

import errno
import resource
import select
import socket
import sys
import time

PORTS = range(1, 65536)
AT_ONCE = 8000
SECONDS = 2.5
"""After the last port of a batch was asked: a packet that was lost is sent again after one."""


def scan(address: str) -> list[int]:
    starts = range(PORTS.start, PORTS.stop, AT_ONCE)
    return [port for start in starts for port in batch(address, range(start, min(start + AT_ONCE, PORTS.stop)))]


def batch(address: str, ports: range) -> list[int]:
    poll, asked, found = select.epoll(), {}, []
    for port in ports:
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        if one.connect_ex((address, port)) == errno.EINPROGRESS:
            asked[one.fileno()] = (port, one)
            poll.register(one, select.EPOLLOUT | select.EPOLLONESHOT)
        else:
            one.close()
    deadline = time.monotonic() + SECONDS
    while (left := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            port, one = asked[number]
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
    for _, one in asked.values():
        one.close()
    return sorted(found)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (AT_ONCE + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(*scan(sys.argv[1]))  # noqa: T201
