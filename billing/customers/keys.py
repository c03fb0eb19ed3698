"""API keys: made, recognised, stored as a digest, shown once.

``sk-ap-`` + 28 base-62 digits (166 random bits) + 6 base-62 digits of CRC-32. The prefix lets secret scanners find
a leaked key; the checksum refuses a mistyped one without asking the database.
"""

import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.charging.limits import month_of
from billing.clock import Clock
from billing.database import tables
from billing.database.purposes import CHAT, PLAYGROUND
from billing.errors import Conflict, NotFound

PREFIX = "sk-ap-"
RANDOM_DIGITS = 28
CHECKSUM_DIGITS = 6
LENGTH = len(PREFIX) + RANDOM_DIGITS + CHECKSUM_DIGITS
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Key:
    """``hint`` is what may be shown of the key later: its prefix and its last four characters.

    ``purpose`` is ``program``, ``playground`` for the one by which the account's own pages ask, or ``chat``
    for what its owner asks in the chat: that one has no text.
    """

    id: int
    account_id: int
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None
    purpose: str

    def is_good(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


_COLUMNS = [tables.api_key.c[name] for name in Key.__slots__]


def generate_key() -> str:
    body = PREFIX + "".join(secrets.choice(_BASE62) for _ in range(RANDOM_DIGITS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    if len(key) != LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    body, tail = key[:-CHECKSUM_DIGITS], key[-CHECKSUM_DIGITS:]
    return hmac.compare_digest(_checksum(body), tail)


def digest(pepper: bytes, key: str) -> bytes:
    """HMAC-SHA256 of the key. The pepper is kept outside the database: a stolen dump opens nothing."""
    return hmac.digest(pepper, key.encode(), "sha256")


async def create_key(
    connection: AsyncConnection,
    account_id: int,
    name: str,
    pepper: bytes,
    clock: Clock,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """The stored key and its text, which cannot be had again."""
    text = generate_key()
    values = {"account_id": account_id, "name": name, "created_at": clock(), "expires_at": expires_at}
    secret = {"hint": _hint(text), "digest": digest(pepper, text)}
    statement = insert(tables.api_key).values(**values, **secret).returning(*_COLUMNS)
    row = (await connection.execute(statement)).mappings().one()
    return Key(**row), text


async def renew_playground_key(
    connection: AsyncConnection, account_id: int, pepper: bytes, clock: Clock, lasts: timedelta
) -> str:
    """The text of the key by which the account's own pages ask; the one before it is good no more."""
    text, now = generate_key(), clock()
    secret = {"hint": _hint(text), "digest": digest(pepper, text), "expires_at": now + lasts}
    row = {"account_id": account_id, "name": PLAYGROUND, "purpose": PLAYGROUND, "created_at": now}
    statement = upsert(tables.api_key).values(**row, **secret)
    again = secret | {"revoked_at": None}
    await connection.execute(statement.on_conflict_do_update(**_the_one(PLAYGROUND), set_=again))
    return text


async def end_playground_key(connection: AsyncConnection, account_id: int) -> None:
    """A session that ends leaves no key behind in its browser that is good."""
    key = tables.api_key
    mine = (key.c.account_id == account_id, key.c.purpose == PLAYGROUND)
    await connection.execute(update(key).where(*mine).values(expires_at=key.c.created_at))


async def end_playground_keys(connection: AsyncConnection) -> None:
    """Everybody's."""
    key = tables.api_key
    await connection.execute(update(key).where(key.c.purpose == PLAYGROUND).values(expires_at=key.c.created_at))


def chat_digest(pepper: bytes, subject: UUID) -> bytes:
    """Of the chat key of whoever is known by the subject. No text that anybody could send has this digest."""
    return digest(pepper, f"chat:{subject}")


async def renew_chat_key(
    connection: AsyncConnection, account_id: int, subject: UUID, pepper: bytes, clock: Clock, expires_at: datetime
) -> None:
    """The account's chat key is good until then, or as long as it is already: it is for all of its browsers."""
    key = {"hint": CHAT, "digest": chat_digest(pepper, subject), "expires_at": expires_at}
    row = {"account_id": account_id, "name": CHAT, "purpose": CHAT, "created_at": clock()}
    statement = upsert(tables.api_key).values(**row, **key)
    longer = func.greatest(tables.api_key.c.expires_at, statement.excluded.expires_at)
    again = key | {"revoked_at": None, "expires_at": longer}
    await connection.execute(statement.on_conflict_do_update(**_the_one(CHAT), set_=again))


async def lock_chat_key(connection: AsyncConnection, account_id: int) -> None:
    """Nobody renews or ends it until the transaction ends; the next statement sees what others did before."""
    key = tables.api_key
    mine = (key.c.account_id == account_id, key.c.purpose == CHAT)
    await connection.execute(select(key.c.id).where(*mine).with_for_update(key_share=True))


async def end_chat_key(connection: AsyncConnection, account_id: int) -> None:
    """From the next request on, until it is renewed."""
    key = tables.api_key
    mine = (key.c.account_id == account_id, key.c.purpose == CHAT)
    await connection.execute(update(key).where(*mine).values(expires_at=key.c.created_at))


async def end_chat_keys(connection: AsyncConnection) -> None:
    """Everybody's."""
    key = tables.api_key
    await connection.execute(update(key).where(key.c.purpose == CHAT).values(expires_at=key.c.created_at))


async def set_end(connection: AsyncConnection, key_id: int, expires_at: datetime | None) -> None:
    """From when on it is good no more; None: it is good until it is revoked."""
    await connection.execute(
        update(tables.api_key).where(tables.api_key.c.id == key_id).values(expires_at=expires_at)
    )


async def revoke_key(connection: AsyncConnection, key_id: int, clock: Clock) -> None:
    """From the next request on. Raises NotFound; Conflict if it is revoked already, or the chat's own, which would
    be renewed while somebody is signed on.
    """
    columns = tables.api_key.c.revoked_at, tables.api_key.c.purpose
    found = (await connection.execute(select(*columns).where(tables.api_key.c.id == key_id))).one_or_none()
    if found is None:
        raise NotFound(f"there is no key {key_id}")
    if found.purpose == CHAT:
        raise Conflict(f"key {key_id} is the chat's: it ends with the sessions of the account")
    if found.revoked_at is not None:
        raise Conflict(f"key {key_id} was revoked at {found.revoked_at.isoformat()}")
    await connection.execute(
        update(tables.api_key).where(tables.api_key.c.id == key_id).values(revoked_at=clock())
    )


async def owner_of(connection: AsyncConnection, key_digest: bytes, now: datetime) -> int | None:
    """The account of the key if it exists and is good, whatever the account's standing."""
    table = tables.api_key
    is_good = table.c.revoked_at.is_(None), or_(table.c.expires_at.is_(None), table.c.expires_at > now)
    query = select(table.c.account_id).where(table.c.digest == key_digest, *is_good)
    return (await connection.execute(query)).scalar_one_or_none()


async def list_keys(connection: AsyncConnection, account_id: int | None = None) -> list[Key]:
    query = select(*_COLUMNS).order_by(tables.api_key.c.id)
    if account_id is not None:
        query = query.where(tables.api_key.c.account_id == account_id)
    return [Key(**row) for row in (await connection.execute(query)).mappings()]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """A key's own; None is no limit. Amounts in nano-dollars, of ``month`` as an account's are."""

    key_id: int
    requests_per_minute: int | None
    budget_nanodollars: int | None
    month: int
    month_spent_nanodollars: int

    def spent(self, now: datetime) -> int:
        """Nano-dollars, in the calendar month (UTC) that it is."""
        return self.month_spent_nanodollars if self.month == month_of(now) else 0


async def limits_of_keys(connection: AsyncConnection, account_id: int) -> dict[int, KeyLimits]:
    """Of the account's keys, those that have limits of their own, by id."""
    limit, key = tables.key_limit, tables.api_key
    query = select(*(limit.c[name] for name in KeyLimits.__slots__)).join(key, key.c.id == limit.c.key_id)
    rows = (await connection.execute(query.where(key.c.account_id == account_id))).mappings()
    return {row["key_id"]: KeyLimits(**row) for row in rows}


def _the_one(purpose: str) -> dict[str, Any]:
    """Of an upsert: the index by which an account has one key of the purpose.

    The purpose stands in the statement: PostgreSQL looks at a statement's values the first times alone, and then
    finds no index for one that it does not see.
    """
    return {
        "index_elements": ["account_id"],
        "index_where": tables.api_key.c.purpose == literal_column(f"'{purpose}'"),
    }


def _hint(text: str) -> str:
    return f"{PREFIX}…{text[-4:]}"


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_DIGITS):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits
