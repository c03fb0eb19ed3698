"""The store in PostgreSQL. Each statement takes a whole batch; nothing is decided here.

New holds, usage rows and transfers are copied in: that is the cheapest way for both sides.

What is read after a lock is read by a statement of its own: a statement sees the moment at which it began, which
is before it waited for the lock.
"""

import json
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from billing.database.db import Database
from billing.prices.pricing import Rate
from billing.store.port import (
    Allowance,
    Asked,
    Changes,
    End,
    Lot,
    NewLot,
    OpenHold,
    Resolution,
    Source,
    Standing,
    Transaction,
)

_USE = """requests_per_minute, {0}tokens_per_minute, {0}concurrent_requests, {0}budget_nanodollars,
    {0}held_nanodollars, {0}open_holds, {0}month, {0}month_spent_nanodollars, {0}requests_tat, {0}tokens_tat"""

_ACCOUNT = f"""a.id, a.status, a.balance_nanodollars, a.owed_nanodollars, a.credit_limit_nanodollars,
    a.sweep_at, a.stops_until, a.limited_keys, a.priority, a.delete_at, a.status_before, a.models,
    a.{_USE.format("a.")}"""
_ACCOUNT_WIDTH = 22
_RATE_OF_ASKER = _ACCOUNT_WIDTH + 3

_RATES = (
    "SELECT id, input, cached_input, output, request, image, audio_second FROM rate WHERE id = ANY($1::bigint[])"
)

# Rows are locked in the order of the accounts' ids, here and in _LOCK: no deadlock. Whose chat has ended with the
# account's good standing is to be told of the standing, not of the key.
_LOCK_ASKERS = f"""
WITH asking AS MATERIALIZED (
    SELECT * FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS r(digest, model, ord)
), listed AS MATERIALIZED (
    SELECT m.model, v.id FROM (SELECT DISTINCT model FROM asking) m CROSS JOIN LATERAL (
        SELECT id FROM rate
        WHERE rate.model = m.model AND rate.account_id IS NULL AND rate.effective_at <= $3
          AND NOT EXISTS (SELECT FROM rate_withdrawal w WHERE w.rate_id = rate.id)
        ORDER BY rate.effective_at DESC LIMIT 1
    ) v
)
SELECT {_ACCOUNT}, r.ord, k.id, k.revoked_at IS NOT NULL OR (
        coalesce(k.expires_at <= $3, false)
        AND NOT (k.purpose = 'chat' AND a.status <> 'active')
    ),
    coalesce(n.id, l.id)
FROM asking r
JOIN api_key k ON k.digest = r.digest
JOIN account a ON a.id = k.account_id
LEFT JOIN listed l ON l.model = r.model
LEFT JOIN LATERAL (
    SELECT id, ends_at FROM rate
    WHERE a.negotiated AND rate.model = r.model AND rate.account_id = a.id AND rate.effective_at <= $3
      AND NOT EXISTS (SELECT FROM rate_withdrawal w WHERE w.rate_id = rate.id)
    ORDER BY rate.effective_at DESC LIMIT 1
) n ON n.ends_at IS NULL OR $3 < n.ends_at
ORDER BY a.id
FOR NO KEY UPDATE OF a
"""

_LOCK = f"SELECT {_ACCOUNT} FROM account a WHERE a.id = ANY($1::bigint[]) ORDER BY a.id FOR NO KEY UPDATE"

_DUE = "SELECT id FROM account WHERE sweep_at <= $1 AND id > $2 ORDER BY id LIMIT $3"

_KEYS = f"SELECT key_id, k.{_USE.format('k.')} FROM key_limit k WHERE key_id = ANY($1::bigint[])"

_LOT = """id, account_id, source, acquired_at, expires_at, amount_nanodollars, remaining_nanodollars,
    frozen_nanodollars, ends_at, end_kind"""

_LOTS = f"SELECT {_LOT} FROM lot WHERE account_id = ANY($1::bigint[]) AND open"

_HOLDS = """SELECT request_id, account_id, key_id, rate_id, model, endpoint, amount_nanodollars, created_at
    FROM hold WHERE """

_RESOLVED = "SELECT request_id, cost_nanodollars FROM usage WHERE request_id = ANY($1::uuid[])"

_HOLD = ("request_id", "account_id", "key_id", "rate_id", "model", "endpoint", "amount_nanodollars", "created_at")

_RESOLVE = "DELETE FROM hold WHERE request_id = ANY($1::uuid[])"

_USAGE = (
    "request_id", "account_id", "key_id", "rate_id", "model", "endpoint", "prompt_tokens", "cached_tokens",
    "completion_tokens", "images", "audio_seconds", "cost_nanodollars", "ended", "created_at", "settled_at",
)  # fmt: skip

_TRANSFER = ("cause", "debit_id", "credit_id", "amount_nanodollars", "kind", "created_at")

_LOTS_DRAWN = """
UPDATE lot SET remaining_nanodollars = d.remaining, open = d.remaining > 0
FROM unnest($1::bigint[], $2::bigint[]) AS d(id, remaining)
WHERE lot.id = d.id
"""

_LOTS_AFTER = """
UPDATE lot SET remaining_nanodollars = d.remaining, frozen_nanodollars = d.frozen, ends_at = d.ends_at,
               end_kind = d.end_kind, open = d.remaining > 0
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[])
     AS d(id, remaining, frozen, ends_at, end_kind)
WHERE lot.id = d.id
"""

_ACCOUNTS_AFTER = """
UPDATE account
SET balance_nanodollars = d.balance, owed_nanodollars = d.owed, held_nanodollars = d.held,
    open_holds = d.open_holds, month_spent_nanodollars = d.month_spent
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[])
     AS d(id, balance, owed, held, open_holds, month_spent)
WHERE account.id = d.id
"""

_RARELY_AFTER = """
UPDATE account
SET status = d.status, credit_limit_nanodollars = d.credit_limit, sweep_at = d.sweep_at,
    stops_until = d.stops_until, limited_keys = d.limited_keys, priority = d.priority, delete_at = d.delete_at,
    status_before = d.status_before, month = d.month, requests_tat = d.requests_tat, tokens_tat = d.tokens_tat,
    requests_per_minute = d.requests_per_minute, tokens_per_minute = d.tokens_per_minute,
    concurrent_requests = d.concurrent_requests, budget_nanodollars = d.budget
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bool[], $7::int[],
            $8::timestamptz[], $9::text[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::int[],
            $14::int[], $15::int[], $16::bigint[])
     AS d(id, status, credit_limit, sweep_at, stops_until, limited_keys, priority, delete_at, status_before,
          month, requests_tat, tokens_tat, requests_per_minute, tokens_per_minute, concurrent_requests, budget)
WHERE account.id = d.id
"""

_MODELS_AFTER = "UPDATE account SET models = $2 WHERE id = $1"

_KEYS_AFTER = """
INSERT INTO key_limit AS k
SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::int[],
                     $8::int[], $9::bigint[], $10::timestamptz[], $11::timestamptz[])
ON CONFLICT (key_id) DO UPDATE SET
    requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,
    concurrent_requests = excluded.concurrent_requests, budget_nanodollars = excluded.budget_nanodollars,
    held_nanodollars = excluded.held_nanodollars, open_holds = excluded.open_holds, month = excluded.month,
    month_spent_nanodollars = excluded.month_spent_nanodollars, requests_tat = excluded.requests_tat,
    tokens_tat = excluded.tokens_tat
"""

_AUDIT = """
INSERT INTO audit (at, actor, action, account_id, subject, reason)
SELECT $6::timestamptz, * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
"""

_NOTICES = """
INSERT INTO notice (created_at, kind, account_id, subject, body)
SELECT $5::timestamptz, kind, account_id, subject, body::jsonb
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS n(kind, account_id, subject, body)
ON CONFLICT DO NOTHING
"""

_OPEN_LOT = """
WITH opened AS (
    INSERT INTO ledger_account (kind, account_id) VALUES ('lot', $2) RETURNING id
), filled AS (
    INSERT INTO transfer (cause, debit_id, credit_id, amount_nanodollars, kind, created_at)
    SELECT $1, (SELECT id FROM ledger_account WHERE kind = $8 AND account_id IS NULL), id, $5, $3, $6 FROM opened
)
INSERT INTO lot (id, account_id, cause, source, reason, acquired_at, expires_at, amount_nanodollars,
                 remaining_nanodollars, ends_at, end_kind)
SELECT id, $2, $1, $3, $4, $6, $7, $5, $5, $7, 'expiry' FROM opened RETURNING id
"""

_RECEIVABLE = "INSERT INTO ledger_account (kind, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"

HOUSE_OF_SOURCE = {Source.PURCHASE: "payments", Source.GRANT: "grants", Source.ALLOWANCE: "plans"}
_SOURCES = {source.value: source for source in Source}
_ENDS = {end.value: end for end in End}


class _Known:
    """What never changes once it is there: ids of ledger accounts, and versions of rates by id."""

    def __init__(self) -> None:
        self.ledger_accounts: dict[tuple[str, int | None], int] = {}
        self.rates: dict[int, Rate] = {}


class PostgresStore:
    """``billing.store.port.Store`` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = _Known()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        async with self._database.begin_raw() as connection:
            yield PostgresTransaction(connection, self._known)


class PostgresTransaction:
    def __init__(self, connection: asyncpg.Connection, known: _Known) -> None:
        self._connection = connection
        self._known = known
        self._locked: dict[int, Standing] = {}
        self._lots: dict[int, Lot] = {}

    async def lock_askers(
        self, asking: Sequence[tuple[bytes, str]], now: datetime
    ) -> tuple[list[Asked | None], dict[int, Standing]]:
        rows = await self._connection.fetch(
            _LOCK_ASKERS, [digest for digest, _ in asking], [model for _, model in asking], now
        )
        rates = await self._rates({row[_RATE_OF_ASKER] for row in rows})
        asked: list[Asked | None] = [None] * len(asking)
        for row in rows:
            account_id = row[0]
            if account_id not in self._locked:
                self._locked[account_id] = _standing(row)
            place, key_id, revoked, rate_id = row[_ACCOUNT_WIDTH:]
            asked[place - 1] = Asked(key_id, account_id, revoked, rates.get(rate_id))
        return asked, self._locked

    async def lock(self, account_ids: Collection[int]) -> dict[int, Standing]:
        rows = await self._connection.fetch(_LOCK, sorted(account_ids))
        self._locked |= {row[0]: _standing(row) for row in rows}
        return self._locked

    async def due(self, now: datetime, after: int, limit: int) -> list[int]:
        return [row[0] for row in await self._connection.fetch(_DUE, now, after, limit)]

    async def keys(self, key_ids: Collection[int]) -> dict[int, Allowance]:
        rows = await self._connection.fetch(_KEYS, list(key_ids))
        return {row[0]: Allowance(*row[1:]) for row in rows}

    async def owns(self, account_id: int, key_id: int) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM api_key WHERE id = $1 AND account_id = $2)"
        return bool(await self._connection.fetchval(query, key_id, account_id))

    async def lots(self, account_ids: Collection[int]) -> list[Lot]:
        found = [_lot(row) for row in await self._connection.fetch(_LOTS, list(account_ids))]
        self._lots |= {lot.id: lot for lot in found}
        return found

    async def lot(self, lot_id: int) -> Lot | None:
        row = await self._connection.fetchrow(f"SELECT {_LOT} FROM lot WHERE id = $1", lot_id)
        return None if row is None else _lot(row)

    async def lot_of(self, cause: UUID) -> int | None:
        found: int | None = await self._connection.fetchval("SELECT id FROM lot WHERE cause = $1", cause)
        return found

    async def moved(self, cause: UUID) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM transfer WHERE cause = $1)"
        return bool(await self._connection.fetchval(query, cause))

    async def holds(self, request_ids: Collection[UUID]) -> dict[UUID, OpenHold]:
        rows = await self._connection.fetch(_HOLDS + "request_id = ANY($1::uuid[])", list(request_ids))
        return {row[0]: hold for row, hold in zip(rows, await self._open_holds(rows), strict=True)}

    async def holds_of(self, account_ids: Collection[int]) -> list[OpenHold]:
        rows = await self._connection.fetch(_HOLDS + "account_id = ANY($1::bigint[])", list(account_ids))
        return await self._open_holds(rows)

    async def resolved(self, request_ids: Collection[UUID]) -> dict[UUID, int]:
        return {row[0]: row[1] for row in await self._connection.fetch(_RESOLVED, list(request_ids))}

    async def forget(self, account_id: int, now: datetime) -> None:
        await self._connection.execute("UPDATE account SET name = 'deleted-' || id WHERE id = $1", account_id)
        await self._connection.execute(
            "UPDATE api_key SET name = '', revoked_at = coalesce(revoked_at, $2) WHERE account_id = $1",
            account_id,
            now,
        )
        await self._connection.execute("DELETE FROM notice WHERE account_id = $1", account_id)
        await self._connection.execute("DELETE FROM buyer WHERE account_id = $1", account_id)

    async def open_lot(self, new: NewLot, now: datetime) -> Lot:
        lot_id = await self._connection.fetchval(
            _OPEN_LOT,
            new.cause,
            new.account_id,
            new.source.value,
            new.reason,
            new.amount,
            now,
            new.expires_at,
            HOUSE_OF_SOURCE[new.source],
        )
        return Lot(
            lot_id, new.account_id, new.source, now, new.expires_at, new.amount, new.amount, 0, new.expires_at,
            End.EXPIRY,
        )  # fmt: skip

    async def ledger_account(self, kind: str, account_id: int | None = None) -> int:
        known = self._known.ledger_accounts
        if (kind, account_id) not in known:
            query = "SELECT id FROM ledger_account WHERE kind = $1 AND account_id IS NOT DISTINCT FROM $2"
            found = await self._connection.fetchval(query, kind, account_id)
            if found is None:
                await self._connection.execute(_RECEIVABLE, kind, account_id)
                return int(await self._connection.fetchval(query, kind, account_id))
            known[kind, account_id] = found
        return known[kind, account_id]

    async def _open_holds(self, rows: Sequence[asyncpg.Record]) -> list[OpenHold]:
        rates = await self._rates({row[3] for row in rows})
        return [
            OpenHold(id_, account_id, key_id, model, endpoint, amount, created_at, rates[rate_id])
            for id_, account_id, key_id, rate_id, model, endpoint, amount, created_at in rows
        ]

    async def _rates(self, ids: set[int | None]) -> dict[int, Rate]:
        """At least those of the ids."""
        known = self._known.rates
        if unknown := [id_ for id_ in ids if id_ is not None and id_ not in known]:
            known |= {row[0]: Rate(*row) for row in await self._connection.fetch(_RATES, unknown)}
        return known

    async def write(self, changes: Changes) -> None:
        execute = self._connection.fetch
        now = changes.now
        if placed := changes.holds:
            holds = [
                (one.request_id, one.account_id, one.key_id, one.rate_id, one.model, one.endpoint, one.amount, now)
                for one in placed
            ]
            await self._connection.copy_records_to_table("hold", records=holds, columns=_HOLD)
        if resolved := changes.resolutions:
            await execute(_RESOLVE, [one.hold.request_id for one in resolved])
            usage = [_usage(one, now) for one in resolved]
            await self._connection.copy_records_to_table("usage", records=usage, columns=_USAGE)
        if moved := changes.transfers:
            moves = [(one.cause, one.debit, one.credit, one.amount, one.kind, now) for one in moved]
            await self._connection.copy_records_to_table("transfer", records=moves, columns=_TRANSFER)
        await self._write_lots(changes.lots)
        await self._write_accounts(changes.accounts)
        if keys := changes.keys:
            await execute(_KEYS_AFTER, list(keys), *_columns(Allowance.__struct_fields__, list(keys.values())))
        if entries := changes.audit:
            await execute(_AUDIT, *_columns(("actor", "action", "account_id", "subject", "reason"), entries), now)
        if notices := changes.notices:
            bodies = [json.dumps(notice.body) for notice in notices]
            await execute(_NOTICES, *_columns(("kind", "account_id", "subject"), notices), bodies, now)

    async def fetch(self, statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
        return list(await self._connection.fetch(statement, *parameters))

    async def _write_lots(self, lots: Sequence[Lot]) -> None:
        drawn: list[Lot] = []
        others: list[Lot] = []
        for lot in lots:
            (drawn if _is_drawn(self._lots.pop(lot.id, None), lot) else others).append(lot)
        if drawn:
            await self._connection.fetch(_LOTS_DRAWN, [lot.id for lot in drawn], [lot.remaining for lot in drawn])
        if others:
            await self._connection.fetch(
                _LOTS_AFTER,
                [lot.id for lot in others],
                [lot.remaining for lot in others],
                [lot.frozen for lot in others],
                [lot.ends_at for lot in others],
                [lot.end.value for lot in others],
            )

    async def _write_accounts(self, accounts: Sequence[Standing]) -> None:
        if not accounts:
            return
        await self._connection.fetch(
            _ACCOUNTS_AFTER,
            [one.id for one in accounts],
            [one.balance for one in accounts],
            [one.owed for one in accounts],
            [one.use.held for one in accounts],
            [one.use.open_holds for one in accounts],
            [one.use.month_spent for one in accounts],
        )
        if rarely := [one for one in accounts if _is_rare(self._locked[one.id], one)]:
            values = [_rarely(one) for one in rarely]
            await self._connection.fetch(
                _RARELY_AFTER, [one.id for one in rarely], *map(list, zip(*values, strict=True))
            )
            for one in rarely:
                if one.models != self._locked[one.id].models:
                    await self._connection.fetch(_MODELS_AFTER, one.id, one.models)


def _standing(row: asyncpg.Record) -> Standing:
    (
        id_, status, balance, owed, credit_limit, sweep_at, stops_until, limited_keys, priority, delete_at,
        status_before, models, *use,
    ) = row[:_ACCOUNT_WIDTH]  # fmt: skip
    return Standing(
        id_, status, balance, owed, credit_limit, Allowance(*use), sweep_at, stops_until, limited_keys, priority,
        delete_at, status_before, None if models is None else tuple(models),
    )  # fmt: skip


def _is_rare(before: Standing, after: Standing) -> bool:
    """Whether something changed that most requests leave as it is."""
    was = before.use
    use = replace(after.use, held=was.held, open_holds=was.open_holds, month_spent=was.month_spent)
    return replace(after, balance=before.balance, owed=before.owed, use=use) != before


_rarely = attrgetter(
    "status", "credit_limit", "sweep_at", "stops_until", "limited_keys", "priority", "delete_at", "status_before",
    "use.month", "use.requests_tat", "use.tokens_tat", "use.requests_per_minute", "use.tokens_per_minute",
    "use.concurrent_requests", "use.budget",
)  # fmt: skip


def _is_drawn(before: Lot | None, after: Lot) -> bool:
    """Whether nothing but the rest of it changed."""
    return before is not None and _beside_the_rest(before) == _beside_the_rest(after)


_beside_the_rest = attrgetter("frozen", "ends_at", "end")


def _lot(row: asyncpg.Record) -> Lot:
    return Lot(
        row[0], row[1], _SOURCES[row[2]], row[3], row[4], row[5], row[6], row[7], row[8], _ENDS[row[9]]
    )  # fmt: skip


def _usage(resolved: Resolution, now: datetime) -> tuple[object, ...]:
    hold, tokens = resolved.hold, resolved.tokens
    return (
        hold.request_id, hold.account_id, hold.key_id, hold.rate.id, hold.model, hold.endpoint, tokens.prompt,
        tokens.cached, tokens.completion, tokens.images, tokens.audio_seconds, resolved.cost, resolved.ended.value,
        hold.created_at, now,
    )  # fmt: skip


def _columns(fields: Iterable[str], rows: Sequence[object]) -> list[list[object]]:
    return [[getattr(row, field) for row in rows] for field in fields]
