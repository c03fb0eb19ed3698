"""Ids of requests and operations: UUID version 7 (RFC 9562), so that an index on them grows at its end."""

import os
from datetime import datetime, timedelta
from uuid import UUID

ID_SLACK = timedelta(days=1)
"""A request's id has its gateway's time in it; whoever bounds ids by times of admission leaves this much."""


def request_id(now_seconds: float) -> UUID:
    """``now_seconds`` is Unix time; 74 bits are random."""
    milliseconds = int(now_seconds * 1000)
    random = int.from_bytes(os.urandom(10), "big") >> 6
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (2**62 - 1)
    return UUID(int=value)


def new_id(now: datetime) -> UUID:
    """An operation's."""
    return request_id(now.timestamp())


def lowest_id(moment: datetime) -> UUID:
    """Not above any id of the moment's millisecond, and above every one before it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
