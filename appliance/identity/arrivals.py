"""Who signs in is told of it by mail: in a browser that the account does not know, or from another country.

Addresses at home change, so another network alone is no news.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.origin import Origin
from appliance.identity.places import Places
from appliance.identity.tables import session

NEW_DEVICE, NEW_COUNTRY = "new device", "new country"
"""Kinds of mail; they are about the session."""


async def is_elsewhere(connection: AsyncConnection, places: Places, account_id: int, origin: Origin) -> bool:
    """Whether all sessions of the account so far began in other countries, as far as it is known where."""
    query = select(session.c.network).where(session.c.account_id == account_id).distinct()
    before = [places.of(network) for network in (await connection.execute(query)).scalars()]
    known, here = {place.country for place in before if place is not None}, places.of(origin.network)
    return here is not None and bool(known) and here.country not in known


async def country_of(connection: AsyncConnection, places: Places, session_id: int) -> str | None:
    """Where it began (ISO 3166); None if that is not known, or it has ended."""
    query = select(session.c.network).where(session.c.id == session_id)
    network = (await connection.execute(query)).scalar_one_or_none()
    place = None if network is None else places.of(network)
    return None if place is None else place.country
