"""What is kept of a person and opens no door: the name, the language, the terms that were accepted."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.joining import person_name
from appliance.identity.sessions import Signed
from appliance.identity.tables import acceptance, person
from appliance.texts import known


async def subject_of(connection: AsyncConnection, account_id: int) -> UUID | None:
    """What other programs know the account's owner by; None if it has none."""
    found = await connection.execute(select(person.c.subject).where(person.c.account_id == account_id))
    return found.scalar_one_or_none()


async def rename(connection: AsyncConnection, signed: Signed, name: str) -> None:
    """Raises InvalidPersonName."""
    mine = person.c.account_id == signed.account_id
    await connection.execute(update(person).where(mine).values(name=person_name(name)))


async def accept(connection: AsyncConnection, signed: Signed, terms: str, address: str, now: datetime) -> None:
    """A version of the terms; once."""
    row = {"account_id": signed.account_id, "terms": terms, "accepted_at": now, "address": address}
    await connection.execute(insert(acceptance).values(**row).on_conflict_do_nothing())


async def speak(connection: AsyncConnection, signed: Signed, language: str) -> None:
    mine = person.c.account_id == signed.account_id
    await connection.execute(update(person).where(mine).values(language=known(language)))
