"""The only place that writes what is kept of a saved card: the card, when it is charged by itself, and why not."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute
from billing.payments.notices import tell_owner
from billing.payments.provider import Card

_CARD = """
UPDATE wallet SET card = $2, card_label = $3, paused = NULL WHERE account_id = $1 AND card IS DISTINCT FROM $2
"""
_FORGET_CARD = """
UPDATE wallet SET card = NULL, card_label = NULL, below_nanodollars = NULL, top_up_cents = NULL,
    ceiling_cents = NULL, paused = NULL
WHERE account_id = $1
"""
_RULE = """
UPDATE wallet SET below_nanodollars = $2, top_up_cents = $3, ceiling_cents = $4, paused = NULL
WHERE account_id = $1
"""
_PAUSE = "UPDATE wallet SET paused = $2 WHERE account_id = $1"


async def keep_card(connection: AsyncConnection, account_id: int, card: Card) -> None:
    """In place of the one before; a top-up that was paused for that one goes on."""
    await execute(connection, _CARD, account_id, card.id, card.label)


async def forget_card(connection: AsyncConnection, account_id: int) -> None:
    """No top-up without a card."""
    await execute(connection, _FORGET_CARD, account_id)


async def set_rule(
    connection: AsyncConnection,
    account_id: int,
    below_nanodollars: int | None,
    top_up_cents: int | None,
    ceiling_cents: int | None,
) -> None:
    """All three or none. Ends a pause."""
    await execute(connection, _RULE, account_id, below_nanodollars, top_up_cents, ceiling_cents)


async def pause(connection: AsyncConnection, account_id: int, code: str, subject: str, now: datetime) -> None:
    """No top-up of the account until its owner resumes it. ``code`` is Stripe's of the decline, or ours."""
    await execute(connection, _PAUSE, account_id, code)
    await tell_owner(connection, account_id, "top_up_paused", subject, {"code": code}, now)


async def resume(connection: AsyncConnection, account_id: int) -> None:
    await execute(connection, _PAUSE, account_id, None)
