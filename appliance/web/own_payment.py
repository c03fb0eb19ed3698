"""A payment that is named in an address or a form: the visitor's own, or none."""

from appliance.site.forms import BadForm, uuid_of
from appliance.site.visitor import Visitor
from billing.database.db import Database
from billing.errors import NotFound
from billing.payments.records import Payment, payment


async def own_payment(database: Database, named: str, visitor: Visitor) -> Payment:
    """Another's is as if it were not there. Raises BadForm."""
    try:
        async with database.begin() as connection:
            found = await payment(connection, uuid_of(named))
    except NotFound:
        raise BadForm from None
    if found.account_id != visitor.person.account_id:
        raise BadForm
    return found
