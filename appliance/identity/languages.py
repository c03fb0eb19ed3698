"""In which language somebody is spoken to of whom only a key is known."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.tables import person
from billing.database.tables import api_key


async def language_of_key(connection: AsyncConnection, digest: bytes) -> str | None:
    """Its owner's, whether the key is good or not; None if it is nobody's."""
    query = select(person.c.language).join(api_key, api_key.c.account_id == person.c.account_id)
    return (await connection.execute(query.where(api_key.c.digest == digest))).scalar_one_or_none()
