"""An operator ends other people's sessions: those of one account, or everybody's. Each act is on record."""

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.tables import session
from appliance.logs import note
from billing.clock import Clock
from billing.customers.accounts import Entry, get_account, record
from billing.customers.keys import end_chat_keys, end_playground_keys


async def end_sessions_of(
    connection: AsyncConnection, account_id: int, actor: str, reason: str, clock: Clock
) -> None:
    """Its owner signs in again. Raises NotFound; ValueError without a reason."""
    await get_account(connection, account_id)
    await sessions.end_all(connection, account_id)
    await record(connection, Entry(clock(), actor, "sessions ended", account_id, "account", reason))


async def end_everybodys_sessions(connection: AsyncConnection, actor: str, reason: str, clock: Clock) -> int:
    """How many there were, operators' among them. Raises ValueError without a reason."""
    ended = await connection.execute(delete(session))
    await end_playground_keys(connection)
    await end_chat_keys(connection)
    await record(connection, Entry(clock(), actor, "sessions ended", None, "everybody", reason))
    note("sessions-ended", account="everybody")
    return ended.rowcount
