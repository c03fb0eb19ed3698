"""How many requests each key made from which network, by the hour."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.review.tables import sighting
from billing.database.db import execute
from billing.database.tables import account

HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600

# In the order of the primary key, so that two gateways that write at once wait for each other in one direction.
_ADD = """
INSERT INTO sighting (key_id, network, hour, account_id, requests, refused)
SELECT k.id, s.network, s.hour, k.account_id, s.requests, s.refused
FROM unnest($1::bytea[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[])
    AS s (digest, network, hour, requests, refused)
JOIN api_key k ON k.digest = s.digest
JOIN account a ON a.id = k.account_id AND a.status <> 'deleted'
ORDER BY 1, 2, 3
ON CONFLICT (key_id, network, hour) DO UPDATE
SET requests = sighting.requests + excluded.requests, refused = sighting.refused + excluded.refused
"""
# Of all keys only those that a rule could find strange.
_STRIKING = """
SELECT s.account_id, s.key_id, s.network, s.hour, s.requests, s.refused
FROM sighting s JOIN account a ON a.id = s.account_id
WHERE s.hour >= $1 AND a.role = 'customer' AND a.status = 'active' AND s.key_id IN (
    SELECT key_id FROM sighting WHERE hour >= $1 GROUP BY key_id HAVING count(DISTINCT network) >= $2
    UNION
    SELECT key_id FROM sighting WHERE hour >= $1 GROUP BY key_id, hour HAVING sum(refused) >= $3
)
"""


class Place(NamedTuple):
    """Of a request: whose key, by its digest; from which network; in which hour since 1970."""

    digest: bytes
    network: str
    hour: int


@dataclass(slots=True)
class Count:
    """``requests`` are all, those that were ``refused`` too."""

    requests: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one key did from one network within the hour that begins at ``hour``."""

    account_id: int
    key_id: int
    network: str
    hour: datetime
    requests: int
    refused: int


async def add(connection: AsyncConnection, counts: Mapping[Place, Count]) -> None:
    """To what is written already. A digest that is no key's is left out."""
    if counts:
        columns = zip(
            *(
                (place.digest, place.network, _begin(place.hour), count.requests, count.refused)
                for place, count in counts.items()
            ),
            strict=True,
        )
        await execute(connection, _ADD, *map(list, columns))


async def striking(connection: AsyncConnection, since: datetime, *, networks: int, refused: int) -> list[Sighting]:
    """Of customers in good standing: the keys with so many networks since then, or refusals within an hour."""
    rows = await connection.exec_driver_sql(_STRIKING, (since, networks, refused))
    return [Sighting(**row) for row in rows.mappings()]


async def forget(connection: AsyncConnection, before: datetime) -> None:
    """What is older, and all of accounts that are deleted."""
    deleted = select(account.c.id).where(account.c.status == "deleted")
    gone = (sighting.c.hour <= before) | sighting.c.account_id.in_(deleted)
    await connection.execute(delete(sighting).where(gone))


def hour_of(moment: datetime) -> datetime:
    """Its beginning."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _begin(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC)
