"""What Stripe tells: stored once for each event, answered at once, and handled after that.

An event only says where to look. Its handler fetches the object afresh and brings our rows to what it says: events
may come twice, late, or in any order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.customers.accounts import Entry, record
from billing.database import sales
from billing.database.db import Database, execute, fetch
from billing.errors import BillingError, DatabaseUnavailable, NotFound
from billing.payments.provider import BadSignature, EventSeen, Gone, Provider

log = logging.getLogger(__name__)

Handler = Callable[[EventSeen], Awaitable[None]]
"""Gone ends it; any other BillingError puts the event off: it is tried again, later each time."""

LEASE = timedelta(minutes=5)
"""So long a claimed event is its worker's; whoever is killed over it leaves it to the next one after that."""
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)
REFUSALS_MARKED = timedelta(seconds=10)
"""As often as a refused webhook is written down: whoever lies often costs no database."""
AT_ONCE = 8
PAGE = 200
ERROR_CHARACTERS = 300

# An event that fails is not asked for again in its turn before its pause is over.
_CLAIM = """
UPDATE stripe_event SET due_at = $2, tries = tries + 1 WHERE id IN (
    SELECT id FROM stripe_event WHERE handled_at IS NULL AND due_at <= $1
    ORDER BY due_at, created_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING id, kind, object, created_at, tries
"""
_HANDLED = "UPDATE stripe_event SET handled_at = $2, error = NULL WHERE id = ANY($1::text[])"
_PUT_OFF = "UPDATE stripe_event SET due_at = $2, error = $3 WHERE id = $1 AND handled_at IS NULL"
_REPLAY = "UPDATE stripe_event SET handled_at = NULL, due_at = $2, error = NULL WHERE id = $1 RETURNING id"
_BACKLOG = """
SELECT count(*) AS waiting, min(created_at) AS oldest_at, count(error) AS failed
FROM stripe_event WHERE handled_at IS NULL
"""
_MARK = """
INSERT INTO stripe_mark (name, at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE stripe_mark.at < excluded.at - interval '10 seconds'
"""


class Event(msgspec.Struct, frozen=True):
    """``came_by`` is webhook or sweep; ``error`` is of the last try."""

    id: str
    kind: str
    object: str
    came_by: str
    created_at: datetime
    received_at: datetime
    due_at: datetime
    tries: int
    handled_at: datetime | None
    error: str | None


class Backlog(msgspec.Struct, frozen=True):
    """Events that are not handled: how many, since when the oldest, and how many of them have failed."""

    waiting: int
    oldest_at: datetime | None
    failed: int


class Inbox:
    def __init__(
        self, database: Database, provider: Provider, handlers: Mapping[str, Handler], clock: Clock
    ) -> None:
        """``handlers`` by the beginning of the kind that they are for, as ``charge.dispute.``: the longest counts.

        An event for which there is none, or that is about nothing that Stripe keeps, is handled by doing nothing.
        """
        self._database = database
        self._provider = provider
        self._handlers = sorted(handlers.items(), key=lambda item: len(item[0]), reverse=True)
        self._clock = clock
        self._refused_at: datetime | None = None
        self._cut_off: list[tuple[Sequence[EventSeen], int]] = []

    async def receive(self, body: bytes, signature: str) -> bool:
        """Stores what a webhook brings; whether it was new. Raises BadSignature, DatabaseUnavailable."""
        now = self._clock()
        try:
            event = self._provider.read_webhook(body, signature, now)
        except BadSignature:
            if self._refused_at is None or now - self._refused_at >= REFUSALS_MARKED:
                self._refused_at = now
                async with self._database.begin() as connection:
                    await mark(connection, "webhook_refused", now)
            raise
        async with self._database.begin() as connection:
            await mark(connection, "webhook", now)
            return await store(connection, [event], "webhook", now) == 1

    async def run_once(self) -> int:
        """Handles all that is due; returns how many were handled. Raises DatabaseUnavailable.

        What the database cuts off does not wait for its lease to end: it is put off with the next turn.
        """
        handled = 0
        while self._cut_off:
            await self._put_off(*self._cut_off[-1], "PostgreSQL could not be reached")
            self._cut_off.pop()
        while True:
            now = self._clock()
            async with self._database.begin() as connection:
                claimed = await fetch(connection, _CLAIM, now, now + LEASE, PAGE)
            if not claimed:
                return handled
            gate = asyncio.Semaphore(AT_ONCE)
            events = [(EventSeen(row.id, row.kind, row.object, row.created_at), row.tries) for row in claimed]
            groups = [self._handle(gate, *one) for one in self._together(events)]
            for done in await asyncio.gather(*groups, return_exceptions=True):
                if isinstance(done, BaseException):
                    raise done
                handled += done

    async def _handle(self, gate: asyncio.Semaphore, events: Sequence[EventSeen], tries: int) -> int:
        """Those about one object: what it is now is asked once. Returns how many were handled."""
        async with gate:
            try:
                return await self._handle_or_put_off(events, tries)
            except DatabaseUnavailable:
                self._cut_off.append((events, tries))
                raise

    async def _handle_or_put_off(self, events: Sequence[EventSeen], tries: int) -> int:
        try:
            found = self._handler(events[-1].kind)
            if found is not None and events[-1].object:
                await found[1](events[-1])
        except DatabaseUnavailable:
            raise
        except Gone:
            log.info("what event %s is about is no more", events[-1].id)
        except BillingError as error:
            await self._put_off(events, tries, str(error))
            return 0
        except Exception as error:
            log.exception("event %s of kind %s failed", events[-1].id, events[-1].kind)
            await self._put_off(events, tries, type(error).__name__)
            return 0
        async with self._database.begin() as connection:
            await execute(connection, _HANDLED, [event.id for event in events], self._clock())
        return len(events)

    def _together(self, events: Iterable[tuple[EventSeen, int]]) -> Iterable[tuple[list[EventSeen], int]]:
        """Events about one object for one handler, oldest first, with the most tries that one of them had."""
        groups: dict[tuple[str, str], list[tuple[EventSeen, int]]] = {}
        for event, tries in events:
            found = self._handler(event.kind)
            groups.setdefault((event.kind if found is None else found[0], event.object), []).append((event, tries))
        for group in groups.values():
            group.sort(key=lambda one: one[0].created_at)
            yield [event for event, _ in group], max(tries for _, tries in group)

    def _handler(self, kind: str) -> tuple[str, Handler] | None:
        """With the beginning of the kinds that it is for."""
        return next((known for known in self._handlers if kind.startswith(known[0])), None)

    async def _put_off(self, events: Sequence[EventSeen], tries: int, error: str) -> None:
        due_at = self._clock() + pause(tries)
        async with self._database.begin() as connection:
            for event in events:
                await execute(connection, _PUT_OFF, event.id, due_at, error[:ERROR_CHARACTERS])

    async def waiting(self, limit: int = 100) -> Sequence[Event]:
        """What is not handled yet, oldest first, with the errors."""
        table = sales.stripe_event
        query = select(*_COLUMNS).where(table.c.handled_at.is_(None)).order_by(table.c.created_at).limit(limit)
        async with self._database.begin() as connection:
            return [Event(*row) for row in await connection.execute(query)]

    async def newest(self, limit: int = 100) -> Sequence[Event]:
        query = select(*_COLUMNS).order_by(sales.stripe_event.c.created_at.desc()).limit(limit)
        async with self._database.begin() as connection:
            return [Event(*row) for row in await connection.execute(query)]

    async def replay(self, event_id: str, actor: str) -> None:
        """The operator has it handled once more, at the next turn. Raises NotFound."""
        now = self._clock()
        async with self._database.begin() as connection:
            if not await fetch(connection, _REPLAY, event_id, now):
                raise NotFound(f"there is no event {event_id}")
            await record(connection, Entry(now, actor, "event replayed", None, event_id, "-"))


async def store(connection: AsyncConnection, events: Iterable[EventSeen], came_by: str, now: datetime) -> int:
    """Those that are not there yet; returns how many."""
    rows = [
        {
            "id": event.id,
            "kind": event.kind,
            "object": event.object,
            "came_by": came_by,
            "created_at": event.created_at,
            "received_at": now,
            "due_at": now,
        }
        for event in events
    ]
    if not rows:
        return 0
    statement = insert(sales.stripe_event).values(rows).on_conflict_do_nothing()
    return len((await connection.execute(statement.returning(sales.stripe_event.c.id))).all())


async def mark(connection: AsyncConnection, name: str, at: datetime) -> None:
    """To within ten seconds, so that a storm of webhooks does not wait in line for one row. Never backwards."""
    await execute(connection, _MARK, name, at)


async def marked(connection: AsyncConnection, name: str) -> datetime | None:
    """When the webhook came last (``webhook``), or was refused (``webhook_refused``); ``swept``, ``imported``."""
    rows = await fetch(connection, "SELECT at FROM stripe_mark WHERE name = $1", name)
    return rows[0].at if rows else None


async def backlog(connection: AsyncConnection) -> Backlog:
    (row,) = await fetch(connection, _BACKLOG)
    return Backlog(row.waiting, row.oldest_at, row.failed)


def pause(tries: int) -> timedelta:
    """After so many tries with this one."""
    return min(FIRST_PAUSE * (1 << min(tries - 1, 16)), LONGEST_PAUSE)


_COLUMNS = [sales.stripe_event.c[name] for name in Event.__struct_fields__]
