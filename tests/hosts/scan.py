"""Every TCP port of a host, as somebody sees it who is none of the others: ``python -m tests.hosts.scan ADDRESS``.

Prints the ports that accept a connection. Standard library alone, as it runs in the onlooker's network namespace.
"""

from __future__ import annotations

import asyncio
import resource
import sys

PORTS = range(1, 65536)
AT_ONCE = 8000
SECONDS = 1.5
"""Long enough for a lost packet to be sent again."""


async def is_open(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def scan(address: str) -> list[int]:
    found = []
    for start in range(PORTS.start, PORTS.stop, AT_ONCE):
        ports = range(start, min(start + AT_ONCE, PORTS.stop))
        answers = await asyncio.gather(*(is_open(address, port) for port in ports))
        found += [port for port, yes in zip(ports, answers, strict=True) if yes]
    return found


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (AT_ONCE + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(*asyncio.run(scan(sys.argv[1])))  # noqa: T201
