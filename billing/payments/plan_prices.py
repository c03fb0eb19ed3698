"""Plans' versions at Stripe: a Price for each version, amount and kind of tax, made when it is first needed."""

from collections.abc import Collection

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from billing.database import sales
from billing.database.db import Database
from billing.documents.buyers import Buyer
from billing.documents.vat import Taxing, quote
from billing.payments.plan_life import PlanPrice
from billing.payments.provider import Provider
from billing.plans.catalog import FIRST_LANGUAGE
from billing.plans.versions import Version, version_of

PAID = "paid"
"""Of a price: what its buyer pays, tax included, whoever reckoned it."""


async def price_for(database: Database, provider: Provider, version: Version, buyer: Buyer, taxing: Taxing) -> str:
    """Stripe's Price of a month of the version: with the tax that its buyer pays, or as it is advertised."""
    if taxing.by_stripe:
        cents, tax = version.cents, f"{'inclusive' if taxing.included else 'exclusive'} {taxing.tax_code}"
    else:
        cents, tax = quote(version.cents, buyer, taxing, is_credit=False).gross, PAID
    table = sales.plan_price
    query = select(table.c.price).where(
        table.c.version_id == version.id, table.c.cents == cents, table.c.tax == tax
    )
    async with database.begin() as connection:
        known = (await connection.execute(query)).scalar_one_or_none()
    if known is not None:
        return str(known)
    made = await provider.price_for(version.id, version.name(FIRST_LANGUAGE), cents)
    row = {"version_id": version.id, "cents": cents, "tax": tax, "price": made}
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
