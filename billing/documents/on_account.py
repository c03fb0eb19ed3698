"""Whether somebody is invoiced each month: invoices are taxed by the table alone.

docs/decisions/0033-value-added-tax.md says why Stripe does not reckon their tax.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.vat import Taxing
from billing.errors import Conflict

BY_TABLE_ALONE = (
    "the tax of monthly invoices is by the table alone: with vat.by: stripe no account may be postpaid"
)

_POSTPAID = """
SELECT coalesce(string_agg(name, ', ' ORDER BY id), '') FROM (
    SELECT id, name FROM account WHERE credit_limit_nanodollars > 0 AND status <> 'deleted' ORDER BY id LIMIT 5
) one
"""


def require_table(taxing: Taxing) -> None:
    """Before an account is made postpaid. Raises Conflict."""
    if taxing.by_stripe:
        raise Conflict(BY_TABLE_ALONE)


async def require_nobody(connection: AsyncConnection, taxing: Taxing) -> None:
    """At the start of a system that sells. Raises Conflict."""
    if not taxing.by_stripe:
        return
    names: str = (await connection.execute(text(_POSTPAID))).scalar_one()
    if names:
        raise Conflict(f"appliance.yaml: vat.by: {BY_TABLE_ALONE}; {names} is")
