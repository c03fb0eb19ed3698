"""Whether a payment at Stripe is one of ours: an account at Stripe may sell other things too."""

from billing.database.db import Database, fetch
from billing.payments.provider import Gone, Provider

_KNOWN = """
SELECT EXISTS (SELECT 1 FROM payment WHERE intent = $1 OR id = $2)
    OR EXISTS (SELECT 1 FROM wallet WHERE customer = $3)
"""


async def is_ours(database: Database, provider: Provider, intent: str | None) -> bool:
    """By its id, by our id in it, or by the customer who paid. Raises PaymentsUnavailable, PaymentsRefused."""
    if intent is None:
        return False
    try:
        seen = await provider.intent(intent)
    except Gone:
        return False
    async with database.begin() as connection:
        ((known,),) = await fetch(connection, _KNOWN, intent, seen.reference, seen.customer)
    return bool(known)
