"""``make test-hosts``: the tests on hosts, or one sentence on what is missing for them and status 2.

``--if-possible``, as continuous integration asks: what is missing is said and is no failure.
"""

from __future__ import annotations

import subprocess
import sys

from tests import lanes
from tests.hosts.machine import lacks

OPTIONAL = "--if-possible"
LANES = {"serving": "hosts and engine", "setup": "hosts and not engine"}
"""By name, the marks of its tests. Both mostly wait."""


def main(arguments: list[str]) -> int:
    reason = lacks()
    if reason:
        sys.stdout.write(f"NOT RUN: the tests on hosts. {reason[0].upper()}{reason[1:]}.\n")
        return 0 if OPTIONAL in arguments else 2
    rest = [one for one in arguments if one != OPTIONAL]
    if not rest:
        return lanes.run(LANES)
    return subprocess.run([sys.executable, "-m", "pytest", "-m", "hosts", *rest], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
