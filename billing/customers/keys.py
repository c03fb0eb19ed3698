"""API keys: made, recognised, stored as a digest, shown once.

``sk-ap-`` + 28 base-62 digits (166 random bits) + 6 base-62 digits of CRC-32. The prefix lets secret scanners find
a leaked key; the checksum refuses a mistyped one without asking the database.
"""

import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import tables
from billing.errors import Conflict, NotFound

PREFIX = "sk-ap-"
RANDOM_DIGITS = 28
CHECKSUM_DIGITS = 6
LENGTH = len(PREFIX) + RANDOM_DIGITS + CHECKSUM_DIGITS
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Key:
    """``hint`` is what may be shown of the key later: its prefix and its last four characters."""

    id: int
    account_id: int
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None


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
    connection: AsyncConnection, account_id: int, name: str, pepper: bytes, clock: Clock
) -> tuple[Key, str]:
    """The stored key and its text, which cannot be had again."""
    text = generate_key()
    row = {
        "account_id": account_id,
        "name": name,
        "hint": f"{PREFIX}…{text[-4:]}",
        "created_at": clock(),
    }
    statement = insert(tables.api_key).values(**row, digest=digest(pepper, text)).returning(tables.api_key.c.id)
    key_id = (await connection.execute(statement)).scalar_one()
    return Key(id=key_id, revoked_at=None, **row), text  # type: ignore[arg-type]


async def revoke_key(connection: AsyncConnection, key_id: int, clock: Clock) -> None:
    """From the next request on. Raises NotFound; Conflict if it is revoked already."""
    found = (
        await connection.execute(select(tables.api_key.c.revoked_at).where(tables.api_key.c.id == key_id))
    ).one_or_none()
    if found is None:
        raise NotFound(f"there is no key {key_id}")
    if found.revoked_at is not None:
        raise Conflict(f"key {key_id} was revoked at {found.revoked_at.isoformat()}")
    await connection.execute(
        update(tables.api_key).where(tables.api_key.c.id == key_id).values(revoked_at=clock())
    )


async def owner_of(connection: AsyncConnection, key_digest: bytes) -> int | None:
    """The account of the key if it exists and is not revoked, whatever the account's standing."""
    query = select(tables.api_key.c.account_id).where(
        tables.api_key.c.digest == key_digest, tables.api_key.c.revoked_at.is_(None)
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def list_keys(connection: AsyncConnection, account_id: int | None = None) -> list[Key]:
    columns = [column for column in tables.api_key.c if column.name != "digest"]
    query = select(*columns).order_by(tables.api_key.c.id)
    if account_id is not None:
        query = query.where(tables.api_key.c.account_id == account_id)
    return [Key(**row) for row in (await connection.execute(query)).mappings()]


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_DIGITS):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits
