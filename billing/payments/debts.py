"""What an account owes is lowered by the operator: he gives it up, or notes money that names no invoice.

It goes to the account's invoices first, the one that is due first before the others, in whole cents; what is left
of it lowers what is not invoiced yet, and is not asked for. Which invoice got what is kept, in the transaction
that lowers the debt.
"""

from uuid import UUID

from billing.clock import Clock
from billing.documents.vat import NANODOLLARS_PER_CENT
from billing.ledger.credit import AlsoOfAccount, Credit
from billing.payments.invoices import UNPAID
from billing.store.port import Transaction

_ALLOCATE = "INSERT INTO allocation (cause, document_id, cents, created_at) VALUES ($1, $2, $3, $4)"


class Debts:
    """Amounts are nano-dollars; the same ``cause`` again does nothing. Raises NotFound, Conflict, ValueError."""

    def __init__(self, credit: Credit, clock: Clock) -> None:
        self._credit = credit
        self._clock = clock

    async def paid(self, account_id: int, amount: int, cause: UUID, actor: str) -> None:
        also = self._to_invoices(account_id, amount, cause)
        await self._credit.pay_receivable(account_id, amount, cause, actor, also=also)

    async def forgive(self, account_id: int, amount: int, cause: UUID, actor: str, reason: str) -> None:
        also = self._to_invoices(account_id, amount, cause)
        await self._credit.write_off(account_id, amount, cause, actor, reason, also=also)

    def _to_invoices(self, account_id: int, amount: int, cause: UUID) -> AlsoOfAccount:
        async def also(transaction: Transaction) -> None:
            if await transaction.moved(cause):
                return
            left = amount // NANODOLLARS_PER_CENT
            for id_, *_, left_cents in await transaction.fetch(UNPAID, account_id):
                if cents := min(left, left_cents):
                    await transaction.fetch(_ALLOCATE, cause, id_, cents, self._clock())
                left -= cents

        return also
