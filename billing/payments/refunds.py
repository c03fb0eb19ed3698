"""Money that goes back: first the credit leaves the account, then Stripe is told, then it is done.

Each step is durable before the next begins. A refund's id is its transfer's cause and Stripe's idempotency key, so
that whoever continues it repeats nothing.
"""

from uuid import UUID

from billing.clock import Clock
from billing.database.db import Database
from billing.ledger.credit import Credit
from billing.payments.provider import Provider
from billing.payments.records import Refund


class Refunds:
    """Raises NotFound, Conflict, DatabaseUnavailable; ValueError without a reason."""

    def __init__(self, database: Database, provider: Provider, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._credit = credit
        self._clock = clock

    async def why_not(self, account_id: int, payment_id: UUID) -> str | None:
        """Why the customer cannot have it back without asking the operator; None if he can."""
        raise NotImplementedError

    async def ask(self, account_id: int, payment_id: UUID) -> Refund:
        """All of it, by the customer. Raises Conflict where the rule of the terms forbids it."""
        raise NotImplementedError

    async def most(self, payment_id: UUID) -> int:
        """Cents of value that the operator can give back now: what is left of it and no request claims."""
        raise NotImplementedError

    async def by_operator(self, payment_id: UUID, actor: str, reason: str, cents: int | None = None) -> Refund:
        """``cents`` of the value, all that is left without. Raises Conflict if there is not so much."""
        raise NotImplementedError

    async def again(self, refund_id: UUID, actor: str, reason: str) -> Refund:
        """The operator tries one that failed once more."""
        raise NotImplementedError

    async def otherwise(self, refund_id: UUID, actor: str, reason: str) -> Refund:
        """The operator has paid one that failed by other means; ``reason`` says how."""
        raise NotImplementedError

    async def run_once(self) -> int:
        """Continues those that are not done; returns how many came further."""
        raise NotImplementedError
