"""Who is inside. Pure, but for what it remembers."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from appliance.door.limits import Limits


class Refusal(StrEnum):
    """Why a connection, or a request, is not let in; a label of the metric."""

    FULL = "full"
    """As many connections as there may be in all, and each has a request."""
    CROWDED = "crowded"
    """It had no request when another came and there were as many as may be."""
    ADDRESS = "address"
    """As many as one address may have."""
    SILENT = "silent"
    """Nothing was sent."""
    SLOW = "slow"
    """The headers were not complete in time."""
    LARGE = "large"
    """The request line and the headers are too large, or too many."""
    MALFORMED = "malformed"
    """It is no HTTP."""
    PIPELINED = "pipelined"
    """Too many requests were sent before the first was answered."""
    STALLED = "stalled"
    """The answer was not read."""


class Census:
    """Of one process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of: Counter[str] = Counter()
        self.open = 0

    def enter(self) -> Refusal | None:
        """A connection. To be followed by ``leave`` if it is let in."""
        if self.open >= self._limits.connections:
            return Refusal.FULL
        self.open += 1
        return None

    def leave(self) -> None:
        self.open -= 1

    def claim(self, address: str) -> Refusal | None:
        """One of what the address may have. To be followed by ``release`` if it is given."""
        if self._of[address] >= self._limits.connections_per_address:
            return Refusal.ADDRESS
        self._of[address] += 1
        return None

    def release(self, address: str) -> None:
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]
