"""Plans' versions at Stripe: a Price for each version and amount, made when it is first needed."""

from collections.abc import Collection

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from billing.database import sales
from billing.database.db import Database
from billing.payments.plan_life import PlanPrice
from billing.payments.provider import Provider
from billing.plans.catalog import FIRST_LANGUAGE
from billing.plans.versions import Version, version_of


async def price_for(database: Database, provider: Provider, version: Version, cents: int) -> str:
    """Stripe's Price of a month of the version at ``cents``, with the tax that its buyer pays."""
    table = sales.plan_price
    query = select(table.c.price).where(table.c.version_id == version.id, table.c.cents == cents)
    async with database.begin() as connection:
        known = (await connection.execute(query)).scalar_one_or_none()
    if known is not None:
        return str(known)
    made = await provider.price_for(version.id, version.name(FIRST_LANGUAGE), cents)
    row = {"version_id": version.id, "cents": cents, "price": made}
    async with database.begin() as connection:
        await connection.execute(insert(table).values(row).on_conflict_do_nothing())
    return made


async def sold_at(database: Database, prices: Collection[str], version: Version) -> dict[str, PlanPrice]:
    """What those of the prices stand for that are ours, and all prices of the version."""
    table = sales.plan_price
    query = select(table.c.price, table.c.version_id, table.c.cents).where(
        or_(table.c.price.in_(prices), table.c.version_id == version.id)
    )
    async with database.begin() as connection:
        rows = (await connection.execute(query)).all()
        return {price: PlanPrice(await version_of(connection, id_), cents) for price, id_, cents in rows}
