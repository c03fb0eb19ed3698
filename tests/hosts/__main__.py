"""``make test-hosts``: the tests on hosts, or one sentence on what is missing for them and status 2.

``--if-possible``, as continuous integration asks: what is missing is said and is no failure.
"""

from __future__ import annotations

import subprocess
import sys

from tests.hosts.host import hosts_on
from tests.hosts.machine import lacks
from tests.hosts.network import network

OPTIONAL = "--if-possible"


def cannot_start() -> str:
    """Why not even a bare host starts here, or ''. It also makes the image where there is none."""
    try:
        with network() as net, hosts_on(net) as start:
            start("trial")
    except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
        return f"a bare host does not start: {error}"
    return ""


def main(arguments: list[str]) -> int:
    reason = lacks() or (OPTIONAL in arguments and cannot_start())
    if reason:
        sys.stdout.write(f"NOT RUN: the tests on hosts. {reason[0].upper()}{reason[1:]}.\n")
        return 0 if OPTIONAL in arguments else 2
    rest = [one for one in arguments if one != OPTIONAL] or ["tests/hosts"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--verbose", "-m", "hosts", *rest], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
