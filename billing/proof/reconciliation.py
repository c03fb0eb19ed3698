"""A day's requests as the engines metered them, beside what was charged and what was moved. Nothing is repaired.

A request belongs to the day (UTC) that is in its id: both sides have it, whatever their clocks say.
"""

from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec

from billing.clock import Clock
from billing.database.db import Database
from billing.ids import lowest_id
from billing.prices.pricing import Tokens
from billing.statements.period import Period

MOST_DIFFERENCES = 1000


class Reading(msgspec.Struct, frozen=True, gc=False):
    """An ended meter of an engine. Of several for one request, the one with the highest ``rank`` counts."""

    request_id: UUID
    model: str
    used: Tokens
    rank: int


@dataclass(frozen=True, slots=True)
class Group:
    """A model's requests for an account; ``account_id`` is None for those that nobody was charged for.

    Tokens are prompt + completion; images and seconds of audio are counted with them. ``open`` requests are not
    settled yet; they are in nothing else. ``waived`` are those that an engine broke off before the client saw
    anything of them, which cost nothing.
    """

    model: str
    account_id: int | None
    requests: int
    open: int
    waived: int
    metered_tokens: int
    charged_tokens: int
    charged_nanodollars: int
    moved_nanodollars: int
    differences: int


@dataclass(frozen=True, slots=True)
class Difference:
    """``metered`` is None where there is no meter, ``charged`` where there is no usage row."""

    request_id: UUID
    model: str
    account_id: int | None
    what: str
    metered: Tokens | None
    charged: Tokens | None
    charged_nanodollars: int
    moved_nanodollars: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """``differences`` are at most ``MOST_DIFFERENCES``; the groups count them all."""

    day: date
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]

    @property
    def count(self) -> int:
        return sum(group.differences for group in self.groups)


_METERED = """
CREATE TEMPORARY TABLE metered (
    request_id uuid, model text, used bigint[], total bigint, rank bigint
) ON COMMIT DROP
"""

# A usage row that was settled after the meters were read may have a meter that was not.
_COMPARED = """
CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
WITH meter AS (
    SELECT DISTINCT ON (request_id) * FROM metered ORDER BY request_id, rank DESC
), charge AS (
    SELECT *, ARRAY[prompt_tokens, cached_tokens, completion_tokens, images, audio_seconds]::bigint[] AS charged,
           prompt_tokens + completion_tokens + images + audio_seconds AS charged_total
    FROM usage WHERE request_id >= $1 AND request_id < $2
), moved AS (
    SELECT cause AS request_id, sum(amount_nanodollars)::bigint AS amount FROM transfer
    WHERE kind IN ('usage', 'postpaid') AND cause >= $1 AND cause < $2 GROUP BY cause
), side_by_side AS (
    SELECT request_id, coalesce(c.model, h.model, m.model, '') AS model,
           coalesce(c.account_id, h.account_id) AS account_id,
           h.request_id IS NOT NULL OR c.settled_at >= $3 AND m.rank IS NULL AS open,
           c.ended = 'failed' AND c.charged_total = 0 AND m.total > 0 AS waived,
           m.rank IS NOT NULL AS has_meter, c.rate_id IS NOT NULL AS has_charge,
           m.model AS metered_model, m.used, m.total, c.charged, c.charged_total,
           coalesce(c.cost_nanodollars, 0) AS cost, coalesce(t.amount, 0) AS moved
    FROM meter m FULL JOIN charge c USING (request_id) FULL JOIN moved t USING (request_id)
    FULL JOIN (SELECT * FROM hold WHERE request_id >= $1 AND request_id < $2) h USING (request_id)
)
SELECT *, CASE
    WHEN open OR waived THEN NULL
    WHEN NOT has_charge AND moved > 0 THEN 'moved without a usage row'
    WHEN NOT has_charge AND total > 0 THEN 'metered, never charged'
    WHEN has_charge AND NOT has_meter AND charged_total > 0 THEN 'charged, in no meter'
    WHEN has_charge AND has_meter AND metered_model <> model THEN 'charged as another model'
    WHEN has_charge AND has_meter AND used <> charged THEN 'charged for other tokens than were metered'
    WHEN cost <> moved THEN 'moved another amount than was charged'
END AS what
FROM side_by_side
"""

_GROUPS = """
SELECT model, account_id, count(*) FILTER (WHERE NOT open), count(*) FILTER (WHERE open),
       count(*) FILTER (WHERE waived AND NOT open),
       coalesce(sum(total) FILTER (WHERE NOT open), 0)::bigint,
       coalesce(sum(charged_total) FILTER (WHERE NOT open), 0)::bigint,
       coalesce(sum(cost) FILTER (WHERE NOT open), 0)::bigint,
       coalesce(sum(moved) FILTER (WHERE NOT open), 0)::bigint, count(what)
FROM compared GROUP BY model, account_id ORDER BY model, account_id
"""

_DIFFERENCES = """
SELECT request_id, model, account_id, what, used, charged, cost, moved
FROM compared WHERE what IS NOT NULL ORDER BY request_id LIMIT $1
"""


async def reconcile(
    database: Database, day: date, readings: AsyncIterable[Sequence[Reading]], clock: Clock
) -> Reconciliation:
    """``readings`` are all there are for requests of the day, and may be of other days too.

    Raises DatabaseUnavailable.
    """
    period = Period(day, day)
    low, high = lowest_id(period.start), lowest_id(period.end)
    begun = clock()
    async with database.begin_raw(timeout_seconds=None) as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(_METERED)
        async for page in readings:
            of_day = [_record(one) for one in page if low <= one.request_id < high]
            await connection.copy_records_to_table("metered", records=of_day)
        await connection.execute("ANALYZE metered")
        await connection.execute(_with_values(_COMPARED, low, high, begun))
        groups = await connection.fetch(_GROUPS)
        differences = await connection.fetch(_DIFFERENCES, MOST_DIFFERENCES)
    return Reconciliation(day, tuple(Group(*row) for row in groups), tuple(map(_difference, differences)))


def _record(reading: Reading) -> tuple[object, ...]:
    used = reading.used
    total = used.prompt + used.completion + used.images + used.audio_seconds
    return reading.request_id, reading.model, list(msgspec.structs.astuple(used)), total, reading.rank


def _with_values(statement: str, low: UUID, high: UUID, begun: datetime) -> str:
    """A statement that makes a table takes no parameters."""
    values = (f"'{low}'::uuid", f"'{high}'::uuid", f"'{begun.isoformat()}'::timestamptz")
    for number, value in enumerate(values, 1):
        statement = statement.replace(f"${number}", value)
    return statement


def _difference(row: asyncpg.Record) -> Difference:
    used, charged = (None if counts is None else Tokens(*counts) for counts in (row["used"], row["charged"]))
    return Difference(
        row["request_id"], row["model"], row["account_id"], row["what"], used, charged, row["cost"], row["moved"]
    )
