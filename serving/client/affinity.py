"""Which replica a session goes to: the one that has its beginning in the prefix cache, unless it is busy. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

SPARE_REQUESTS = 4
SPARE_SHARE = 1.25
"""A session stays as long as its replica has at most so many times the least loaded one's requests, and a few."""


class Loaded(Protocol):
    """``running`` and ``waiting`` are requests at the last look."""

    @property
    def id(self) -> str: ...
    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...


Able = TypeVar("Able", bound=Loaded)


def choose(replicas: Sequence[Able], in_flight: Mapping[str, int], session: bytes = b"") -> Able | None:
    """Of those that take requests: the session's if it has one, else the one with the least to do.

    ``in_flight`` is what the caller sent and has not got back; ``session`` may be of any length, and "" is none.
    """

    def load(replica: Able) -> tuple[int, int]:
        return in_flight.get(replica.id, 0), replica.running + replica.waiting

    least = min(replicas, key=load, default=None)
    if least is None or not session or len(replicas) == 1:
        return least
    home = max(replicas, key=lambda replica: _rank(session, replica.id))
    most = SPARE_REQUESTS + SPARE_SHARE * max(load(least))
    return home if max(load(home)) <= most else least


def _rank(session: bytes, replica: str) -> bytes:
    """Rendezvous hashing: when a replica comes or goes, only its own sessions move."""
    return hashlib.blake2b(session, digest_size=8, key=replica.encode()[:64]).digest()
