"""What the tests have put the software through, counted while they run.

`make everything` names a file in ``APPLIANCE_RECORD``, adds up what its steps have written there, and shows
the sums in docs/quality.md. Without the variable nothing is written.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from enum import StrEnum
from pathlib import Path

VARIABLE = "APPLIANCE_RECORD"


class Ordeal(StrEnum):
    """What is counted, in the order and the words of docs/quality.md."""

    OPERATIONS = "operations of random histories on which the ledger and a plain model agreed"
    SEEDS = "seeds of such histories"
    SOAK_SECONDS = "seconds of them"
    KILLS = "processes ended by `kill -9` while they worked, and survived"
    FUZZED = "generated requests, none answered with 5xx or otherwise than described"
    HOSTS = "fresh hosts with systemd started"
    CONVERGES = "runs of Ansible against them"
    POWER_CUTS = "hosts whose plug was pulled, that were rebooted or cut off"


def record(what: Ordeal, number: float = 1) -> None:
    """Adds ``number`` to the record of the step that runs. Several processes may write at once."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as file:
            file.write(json.dumps([what, number]) + "\n")


def recorded(path: Path) -> Counter[Ordeal]:
    """The sums of a file that `record` wrote; nothing if there is none."""
    sums: Counter[Ordeal] = Counter()
    if path.exists():
        for line in path.read_text().splitlines():
            what, number = json.loads(line)
            sums[Ordeal(what)] += number
    return sums
