"""What an account owes is lowered by the operator: he gives it up, or notes money that names no invoice.

It goes to the account's invoices first, the one that is due first before the others, in whole cents; what is left
of it lowers what is not invoiced yet, and is not asked for. Where less than a cent of an invoice is still owed, it
is asked of nobody. Which invoice got what is kept, in the transaction that lowers the debt.
"""

from uuid import UUID

from billing.clock import Clock
from billing.database.db import Database
from billing.documents.crediting import credited_of
from billing.documents.settled import SETTLED
from billing.errors import Conflict
from billing.ids import new_id
from billing.ledger.credit import AlsoOfAccount, Credit
from billing.payments.invoices import UNPAID, invoice_named, left_of
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars
from billing.store.port import Transaction

_FREE = f"""
SELECT d.gross_cents - coalesce(s.cents, 0) FROM document d LEFT JOIN ({SETTLED}) s ON s.document_id = d.id
WHERE d.id = $1
"""
_CREDIT = """
INSERT INTO allocation (cause, document_id, cents, vat_cents, created_at, kind)
VALUES ($1, $2, $3, $4, $5, 'credited')
"""
_OWED = "SELECT owed_nanodollars FROM account WHERE id = $1"
_ALLOCATE = "INSERT INTO allocation (cause, document_id, cents, created_at, kind) VALUES ($1, $2, $3, $4, $5)"


class Debts:
    """Amounts are nano-dollars; the same ``cause`` again does nothing. Raises NotFound, Conflict, ValueError."""

    def __init__(self, database: Database, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._credit = credit
        self._clock = clock

    async def paid(self, account_id: int, amount: int, cause: UUID, actor: str) -> None:
        also = self._to_invoices(account_id, amount, cause, "paid")
        await self._credit.pay_receivable(account_id, amount, cause, actor, also=also)

    async def forgive(self, account_id: int, amount: int, cause: UUID, actor: str, reason: str) -> None:
        also = self._to_invoices(account_id, amount, cause, "forgiven")
        await self._credit.write_off(account_id, amount, cause, actor, reason, also=also)

    async def credit_invoice(self, name: str, cents: int | None, actor: str, reason: str) -> int:
        """An invoice is not to be paid, or not wholly: all that is left without ``cents``. Returns the cents.

        The worker posts its credit note. For what is paid already there are refunds.
        """
        cause = new_id(self._clock())
        async with self._database.begin() as connection:
            invoice = await invoice_named(connection, name)
            try:
                left = await left_of(connection, invoice)
            except Conflict as error:
                raise Conflict(
                    f"{error}: note what you pay back by bank by `appliance invoice paid-back`"
                ) from None
            before = await credited_of(connection, invoice)
        amount = left if cents is None else cents
        if amount <= 0:
            raise ValueError("an amount must be above zero")
        vat = before.vat_of_next(invoice, amount)

        async def also(transaction: Transaction) -> None:
            ((free,),) = await transaction.fetch(_FREE, invoice.id)
            if amount > free:
                nanodollars = max(0, free) * NANODOLLARS_PER_CENT
                raise Conflict(
                    f"of invoice {name} {format_dollars(nanodollars)} is unpaid: not more can be credited"
                )
            await transaction.fetch(_CREDIT, cause, invoice.id, amount, vat, self._clock())

        await self._credit.write_off(
            invoice.account_id, amount * NANODOLLARS_PER_CENT, cause, actor, f"invoice {invoice.name}: {reason}",
            vat=vat * NANODOLLARS_PER_CENT if before.on_top else 0, also=also,
        )  # fmt: skip
        return amount

    def _to_invoices(self, account_id: int, amount: int, cause: UUID, kind: str) -> AlsoOfAccount:
        async def also(transaction: Transaction) -> None:
            if await transaction.moved(cause):
                return
            invoices = await transaction.fetch(UNPAID, account_id)
            ((owed,),) = await transaction.fetch(_OWED, account_id)
            left = _to_allocate(amount, owed, sum(left_cents for *_, left_cents in invoices))
            for id_, *_, left_cents in invoices:
                if cents := min(left, left_cents):
                    await transaction.fetch(_ALLOCATE, cause, id_, cents, self._clock(), kind)
                left -= cents

        return also


def _to_allocate(amount: int, owed: int, asked_cents: int) -> int:
    """Cents for invoices: whole ones, and one that is begun where they would ask for more than is owed then."""
    whole, begun = divmod(amount, NANODOLLARS_PER_CENT)
    asks_too_much = (asked_cents - whole) * NANODOLLARS_PER_CENT > owed - amount
    return whole + bool(begun and asks_too_much)
