"""What a replica says of itself, and the directory of it."""

from __future__ import annotations

from typing import Any

import msgspec

STILL_ASKED_SECONDS = 5.0
"""A replica that is stopped takes requests until none has come for so long: some know of no successor yet."""
MOST_STILL_ASKED_SECONDS = 30.0
"""Then it refuses them even so."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """``begun`` are its requests ever, ``running`` and ``waiting`` those of now; ``written`` its tokens ever.

    ``memory_used`` and ``memory_total`` are bytes, as ``serving.replica.footprint`` has them.

    One that is ``leaving`` was stopped and takes requests yet; one that is ``draining`` gets none. What an earlier
    version did not say has a default: its replicas are taken over as they run.
    """

    id: str
    version: str
    endpoint: str
    node: str
    running: int
    waiting: int
    begun: int
    leaving: bool = False
    draining: bool = False
    written: int = 0
    memory_used: int = 0
    memory_total: int = 0
    trouble: str = ""
    """What keeps a partner from answering."""

    def as_seen(self, *, draining: bool) -> Description:
        return self if self.draining is draining else msgspec.structs.replace(self, draining=draining)


class Told(msgspec.Struct, frozen=True):
    """What a replica answers ``serving``: itself, and what it measured of its model."""

    replica: Description
    traits: dict[str, Any]
