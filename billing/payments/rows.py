"""What more than one way to pay writes alike: that there is a page to pay on, and that a card is saved."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute
from billing.payments.provider import Card

_OPEN = "UPDATE payment SET state = 'open', checkout = $2 WHERE id = $1 AND state = 'ordered'"
_CARD = """
UPDATE wallet SET card = $2, card_label = $3, paused = NULL WHERE account_id = $1 AND card IS DISTINCT FROM $2
"""


async def note_page(connection: AsyncConnection, payment_id: UUID, checkout: str) -> None:
    """Stripe has made the page of a payment that was ordered."""
    await execute(connection, _OPEN, payment_id, checkout)


async def keep_card(connection: AsyncConnection, account_id: int, card: Card) -> None:
    """In place of the one before; a top-up that was paused for that one goes on."""
    await execute(connection, _CARD, account_id, card.id, card.label)
