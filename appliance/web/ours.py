"""A row that a form names, if it is the person's own: another's is as if it were not there."""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.customers.keys import PLAYGROUND, Key, list_keys


async def own_key(connection: AsyncConnection, account_id: int, number: str) -> Key | None:
    keys = await list_keys(connection, account_id)
    return next((key for key in keys if str(key.id) == number and key.purpose != PLAYGROUND), None)
