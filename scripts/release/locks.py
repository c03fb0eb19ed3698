"""Which packages are locked, and for what: read from requirements/*.txt."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALLED = ("cpu", "gpu", "torch-cpu", "uv")
"""What is installed where the product runs, one or the other of the first two."""
CHAT = "chat"
"""For a chat that is tried on one machine."""
ANSIBLE = "ansible"
"""On the machine from which servers are set up."""
DEVELOPMENT = frozenset({"dev", "caddy", "s3"})
"""What tests alone need."""
LOCKS = (*INSTALLED, CHAT, ANSIBLE, *sorted(DEVELOPMENT))


@dataclass(frozen=True, order=True)
class Locked:
    """One version of a package, with the locks that have it."""

    name: str
    version: str
    locks: tuple[str, ...]


def locked(requirements: Path) -> list[Locked]:
    """All of them, in the order of their names. ``requirements`` is the folder."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in LOCKS:
        for pin in pins((requirements / f"{lock}.txt").read_text()):
            in_locks = found.setdefault(pin, [])
            if lock not in in_locks:
                in_locks.append(lock)
    return sorted(Locked(name, version, tuple(locks)) for (name, version), locks in found.items())


def pins(text: str) -> Iterator[tuple[str, str]]:
    """Name and version of each package in a lock."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        wanted, *_ = line.split(" --hash=")
        if wanted.strip() and not wanted.startswith("#"):
            requirement = Requirement(wanted)
            (pin,) = requirement.specifier
            yield canonicalize_name(requirement.name), pin.version
