"""Who is served next when an engine is full: the higher priority, then who has least, then who came first.

vLLM's own queue knows priorities but no tenants: whoever asks two hundred times at once would be served as often
before anybody else. So the engine is given no more than it can work on, and the rest waits here. A part of its
seats is kept for plans with a priority, which then need not wait for an answer to end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

RESERVED_SHARE = 8
"""One in so many seats is kept for priorities."""


@dataclass(eq=False, slots=True)
class Ticket:
    """``priority`` is vLLM's: the lower, the sooner; below 0 is a plan's. ``size`` is in sequences."""

    tenant: str
    priority: int
    size: int
    number: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Line:
    """``seats`` is how many sequences the engine works on at a time."""

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._ordinary_seats = seats - (seats // RESERVED_SHARE or int(seats > 1))
        self._taken = 0
        self._ordinary_taken = 0
        self._taken_by: Counter[str] = Counter()
        self._waiting: list[Ticket] = []
        self._numbers = count()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def join(self, tenant: str, priority: int, sequences: int) -> Ticket:
        """A ticket whose ``turn`` is done when it may go; to be given to ``seated``, or to ``leave``."""
        most = self._seats if priority < 0 else self._ordinary_seats
        ticket = Ticket(tenant, priority, max(1, min(sequences, most)), next(self._numbers))
        self._waiting.append(ticket)
        self._call()
        return ticket

    @contextmanager
    def seated(self, ticket: Ticket) -> Iterator[None]:
        """While the engine works on it; its turn has come."""
        try:
            yield
        finally:
            self._take(ticket, -1)
            self._call()

    def leave(self, ticket: Ticket) -> None:
        """It goes unserved, whether its turn came meanwhile or not."""
        if ticket.turn.done():
            self._take(ticket, -1)
        else:
            self._waiting.remove(ticket)
        self._call()

    def _call(self) -> None:
        """Calls whoever is next, as long as there is room. Who needs more room than there is lets nobody pass."""
        while self._waiting:
            ticket = min(self._waiting, key=self._rank)
            if not self._has_room(ticket):
                return
            self._waiting.remove(ticket)
            self._take(ticket, 1)
            ticket.turn.set_result(None)

    def _rank(self, ticket: Ticket) -> tuple[int, int, int]:
        return ticket.priority, self._taken_by[ticket.tenant], ticket.number

    def _has_room(self, ticket: Ticket) -> bool:
        if self._taken + ticket.size > self._seats:
            return False
        return ticket.priority < 0 or self._ordinary_taken + ticket.size <= self._ordinary_seats

    def _take(self, ticket: Ticket, sign: int) -> None:
        seats = sign * ticket.size
        self._taken += seats
        self._ordinary_taken += seats if ticket.priority >= 0 else 0
        self._taken_by[ticket.tenant] += seats
        if not self._taken_by[ticket.tenant]:
            del self._taken_by[ticket.tenant]
