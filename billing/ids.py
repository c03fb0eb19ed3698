"""Ids of requests and operations: UUID version 7 (RFC 9562), so that an index on them grows at its end.

They are of the class that PostgreSQL's driver gives for a uuid: a ``uuid.UUID`` that costs a seventh to make, hash
and send.
"""

import os
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg.pgproto import pgproto

ID_SLACK = timedelta(days=1)
"""A request's id has its gateway's time in it; whoever bounds ids by times of admission leaves this much."""

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_RANDOM = (1 << 80) - 1 ^ (0xF << 76 | 0b11 << 62)


def request_id(now_seconds: float) -> UUID:
    """``now_seconds`` is Unix time; 74 bits are random."""
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM
    return _uuid(int(now_seconds * 1000) << 80 | random | _VERSION_AND_VARIANT)


def new_id(now: datetime) -> UUID:
    """An operation's."""
    return request_id(now.timestamp())


def lowest_id(moment: datetime) -> UUID:
    """Not above any id of the moment's millisecond, and above every one before it."""
    return _uuid(int(moment.timestamp() * 1000) << 80)


def vat_cause(cause: UUID) -> UUID:
    """Of the tax that is paid on top of what ``cause`` pays for: two transfers of a cause never leave one account.

    The last bit is the other one: the time in it is the same. ``billing.database.sales.VAT_CAUSE`` is this in SQL.
    """
    return _uuid(cause.int ^ 1)


def _uuid(value: int) -> UUID:
    made: UUID = pgproto.UUID(value.to_bytes(16, "big"))
    return made
