"""Takings: what moved at Stripe, what is noted here, the ledger and the documents are the same, or it is said."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from billing.database.db import execute
from billing.ids import new_id, vat_cause
from billing.payments.provider import MovementSeen
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.proof.takings import OnBalance, Takings, compare_takings
from tests.billing.conftest import Bank, Customer

DAY = date(2026, 1, 31)
PAYMENT = """
INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents, gross_cents, vat_code,
                     vat_basis_points, buyer, created_at, paid_at, intent)
VALUES ($1, $2, $3, 'credited', $4, $5, $6, $7, '3', 2500, '{}', $8, $8, $9)
"""
DOCUMENT = """
INSERT INTO document (
    series, kind, account_id, payment_id, refund_id, corrects_id, issued_at, delivered_at,
    net_cents, vat_cents, gross_cents, vat_code, vat_basis_points, seller, buyer, lines, language
)
VALUES ('', $1, $2, $3, $4, $5, $6, $6, $7, 0, $7, '3', 2500, '{}', '{}', '[]', 'en')
"""
MOVEMENT = """
INSERT INTO stripe_movement (
    id, kind, source, intent, currency, cents, fee_cents, net_cents, usd_cents, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
CHARGED_AGAIN = """
INSERT INTO stripe_movement (
    id, kind, source, intent, currency, cents, fee_cents, net_cents, usd_cents, created_at)
SELECT 'again', kind, 'ch_again', intent, currency, cents, fee_cents, net_cents, usd_cents, created_at
FROM stripe_movement
"""
TRANSFER = """
INSERT INTO transfer (cause, debit_id, credit_id, amount_nanodollars, kind, created_at)
SELECT $1, d.id, c.id, $4, $5, $6 FROM ledger_account d, ledger_account c
WHERE d.kind = $2 AND c.kind = $3 AND coalesce(d.account_id, c.account_id, $7) = $7 ORDER BY d.id, c.id LIMIT 1
"""


@dataclass
class Till:
    """Sells as the appliance does, in all four columns."""

    bank: Bank
    customer: Customer
    at_stripe: list[MovementSeen] = field(default_factory=list)

    async def run(self, statement: str, *values: object) -> None:
        async with self.bank.database.begin() as connection:
            await execute(connection, "SET session_replication_role = replica")
            await execute(connection, statement, *values)
            await execute(connection, "SET session_replication_role = origin")

    async def sells(self, cents: int, *, vat: int = 0, kind: str = "credit") -> UUID:
        """``vat`` is on top."""
        now, account_id = self.bank.clock(), self.customer.account_id
        payment_id = new_id(now)
        value = cents * NANODOLLARS_PER_CENT
        async with self.bank.database.begin() as connection:
            await execute(
                connection, PAYMENT, payment_id, account_id, kind, value, cents, vat, cents + vat, now,
                f"pi_{payment_id}",
            )  # fmt: skip
            await execute(
                connection, DOCUMENT, "receipt", account_id, payment_id, None, None, now, cents + vat
            )  # fmt: skip
        if kind == "credit":
            await self.bank.credit.purchase(account_id, value, "bought", payment_id)
        else:
            await self.moves(payment_id, "payments", "plans", value, "plan")
        if vat:
            await self.moves(vat_cause(payment_id), "payments", "vat", vat * NANODOLLARS_PER_CENT, "vat")
        await self.stripe_moves("charge", f"ch_{payment_id}", cents + vat, 61, f"pi_{payment_id}")
        return payment_id

    async def gives_back(self, payment_id: UUID, cents: int, *, vat: int = 0) -> UUID:
        now, account_id = self.bank.clock(), self.customer.account_id
        refund_id = new_id(now)
        async with self.bank.database.begin() as connection:
            await execute(
                connection,
                "INSERT INTO refund (id, payment_id, state, value_nanodollars, net_cents, vat_cents, gross_cents,"
                " actor, reason, stripe_id, created_at, done_at)"
                " VALUES ($1, $2, 'done', $3, $4, $7, $4::bigint + $7::bigint, 'kari', 'asked', $5, $6, $6)",
                refund_id, payment_id, cents * NANODOLLARS_PER_CENT, cents, f"re_{refund_id}", now, vat,
            )  # fmt: skip
            await execute(connection, DOCUMENT, "credit_note", account_id, None, refund_id, 1, now, cents + vat)
        await self.moves(refund_id, "lot", "payments", cents * NANODOLLARS_PER_CENT, "refund")
        if vat:
            await self.moves(refund_id, "vat", "payments", vat * NANODOLLARS_PER_CENT, "vat_refund")
        await self.stripe_moves("refund", f"re_{refund_id}", -cents - vat)
        return refund_id

    async def is_disputed(self, payment_id: UUID, cents: int, state: str) -> str:
        now = self.bank.clock()
        id_, cause = f"du_{payment_id}", new_id(now)
        await self.run(
            "INSERT INTO dispute (id, payment_id, cause, state, cents, reason, opened_at)"
            " VALUES ($1, $2, $3, $4, $5, 'fraudulent', $6)",
            id_, payment_id, cause, state, cents, now,
        )  # fmt: skip
        await self.stripe_moves("adjustment", id_, -cents, 1500)
        if state == "won":
            await self.stripe_moves("adjustment", id_, cents)
        elif state == "lost":
            await self.moves(cause, "disputed", "payments", cents * NANODOLLARS_PER_CENT, "chargeback")
        return id_

    async def moves(self, cause: UUID, debit: str, credit: str, amount: int, kind: str) -> None:
        now = self.bank.clock()
        await self.run(TRANSFER, cause, debit, credit, amount, kind, now, self.customer.account_id)

    async def stripe_moves(
        self, kind: str, source: str, cents: int, fee: int = 0, intent: str | None = None
    ) -> None:
        now = self.bank.clock()
        amounts = ("usd", cents, fee, cents - fee, None, cents)
        one = MovementSeen(f"txn_{len(self.at_stripe)}", kind, source, intent, *amounts, now)
        self.at_stripe.append(one)
        async with self.bank.database.begin() as connection:
            await execute(
                connection, MOVEMENT, one.id, kind, source, intent, "usd", cents, fee, cents - fee, cents, now
            )  # fmt: skip

    async def look(self, day: date = DAY, *, after_minutes: int = 60, asked: bool = True) -> Takings:
        before = self.bank.clock.now
        self.bank.clock.turn(minutes=after_minutes)
        try:
            pages = self._pages(self.at_stripe) if asked else None
            return await compare_takings(self.bank.database, day, pages, self.bank.clock)
        finally:
            self.bank.clock.now = before

    @staticmethod
    async def _pages(movements: Sequence[MovementSeen]) -> AsyncIterator[Sequence[MovementSeen]]:
        for one in movements:
            yield [one]


@pytest.fixture
async def till(bank: Bank) -> Till:
    return Till(bank, await bank.customer(0))


def named(found: Takings) -> list[tuple[str, str]]:
    return [(one.subject, one.what) for one in found.differences]


@pytest.mark.parametrize("asked", [True, False])
async def test_a_day_of_all_that_can_happen_agrees_in_cents_and_nanodollars(till: Till, asked: bool) -> None:
    first, second, third = [await till.sells(cents) for cents in (1000, 2500, 5000)]
    await till.gives_back(await till.sells(2000, vat=500), 1000, vat=250)
    await till.sells(900, kind="plan")
    await till.gives_back(first, 1000)
    await till.is_disputed(second, 2500, "won")
    await till.is_disputed(third, 5000, "lost")
    await till.stripe_moves("payout", "po_1", -4000)
    found = await till.look(asked=asked)
    assert (named(found), found.asked) == ([], asked)
    groups = {group.kind: group for group in found.groups}
    credit = groups["credit"]
    assert (credit.items, credit.open, credit.on_balance) == (4, 0, (OnBalance("usd", 11_000, 4 * 61),))
    assert credit.stripe_cents == credit.here_cents == credit.document_cents == 11_000
    assert credit.ledger_nanodollars == 11_000 * NANODOLLARS_PER_CENT
    assert {kind: (group.stripe_cents, group.here_cents) for kind, group in groups.items()} == {
        "credit": (11_000, 11_000), "plan": (900, 900), "refund": (-2250, -2250), "dispute": (-5000, -5000),
        "payout": (-4000, 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        ("paid at Stripe, no credit here", "UPDATE payment SET state = 'open', paid_at = NULL"),
        ("credit here, nothing paid at Stripe", "DELETE FROM stripe_movement"),
        (
            "another amount was paid at Stripe than was asked",
            "UPDATE stripe_movement SET cents = 999, usd_cents = 999",
        ),
        (
            "charged more than once at Stripe",
            CHARGED_AGAIN,
        ),
        ("paid at Stripe, for no payment of ours", "UPDATE stripe_movement SET intent = 'pi_other'"),
        ("noted as credited, nothing moved in the ledger", "DELETE FROM transfer"),
        (
            "another amount moved in the ledger than was paid",
            "UPDATE transfer SET amount_nanodollars = amount_nanodollars + 1",
        ),
        (
            "credit here, of no payment",
            "UPDATE transfer SET cause = '019c0000-0000-7000-8000-000000000000'",
        ),
        ("a lot of another amount than was bought", "UPDATE lot SET amount_nanodollars = 10000000001"),
        (
            "another amount was paid at Stripe than was asked",
            "UPDATE payment SET net_cents = 1001, gross_cents = 1001",
        ),
        ("no document", "DELETE FROM document"),
        ("a document of another amount", "UPDATE document SET net_cents = 999, gross_cents = 999"),
    ],
)
async def test_a_fault_in_a_sale_is_named_in_whichever_column_it_is(till: Till, what: str, harm: str) -> None:
    payment_id = await till.sells(1000)
    assert named(await till.look(asked=False)) == []
    await till.run(harm)
    found = named(await till.look(asked=False))
    assert what in [said for _, said in found], found
    of_no_payment = ("paid at Stripe, for no payment of ours", "credit here, of no payment")
    assert all(subject == f"payment {payment_id}" for subject, said in found if said not in of_no_payment)


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        ("refunded at Stripe, not here", "UPDATE refund SET state = 'taken', done_at = NULL"),
        ("refunded at Stripe, not here", "DELETE FROM refund"),
        ("refunded here, not at Stripe", "DELETE FROM stripe_movement WHERE kind = 'refund'"),
        ("refunded here, not at Stripe", "UPDATE stripe_movement SET source = 're_other' WHERE kind = 'refund'"),
        (
            "another amount was refunded at Stripe than here",
            "UPDATE stripe_movement SET cents = -999, usd_cents = -999 WHERE kind = 'refund'",
        ),
        ("refunded, nothing moved in the ledger", "DELETE FROM transfer WHERE kind = 'refund'"),
        (
            "another amount moved in the ledger than was refunded",
            "UPDATE transfer SET amount_nanodollars = 1 WHERE kind = 'refund'",
        ),
        ("moved in the ledger, not noted as refunded", "UPDATE refund SET state = 'asked', done_at = NULL"),
        ("given back here, of no refund or dispute", "DELETE FROM refund"),
        ("no document", "DELETE FROM document WHERE kind = 'credit_note'"),
        (
            "a document of another amount",
            "UPDATE document SET net_cents = 1, gross_cents = 1 WHERE kind = 'credit_note'",
        ),
        ("disputed at Stripe, not here", "DELETE FROM dispute"),
        ("disputed here, nothing taken at Stripe", "DELETE FROM stripe_movement WHERE kind = 'adjustment'"),
        ("taken at Stripe, but won here", "UPDATE dispute SET state = 'won'"),
        ("moved in the ledger, but the dispute is not lost", "UPDATE dispute SET state = 'open'"),
        ("a dispute is lost, nothing moved in the ledger", "DELETE FROM transfer WHERE kind = 'chargeback'"),
        ("another amount was taken at Stripe than is disputed", "UPDATE dispute SET cents = 1"),
    ],
)
async def test_a_fault_in_what_went_back_is_named(till: Till, what: str, harm: str) -> None:
    await till.gives_back(await till.sells(1000), 1000)
    await till.is_disputed(await till.sells(5000), 5000, "lost")
    assert named(await till.look(asked=False)) == []
    await till.run(harm)
    assert what in [said for _, said in named(await till.look(asked=False))]


async def test_what_stripe_says_now_counts_and_a_record_that_is_not_the_same_is_named(till: Till) -> None:
    await till.sells(1000)
    await till.sells(2000)
    await till.run("UPDATE stripe_movement SET cents = 1001, usd_cents = 1001 WHERE id = 'txn_0'")
    assert named(await till.look()) == [("movement txn_0", "recorded here otherwise than Stripe has it")]
    del till.at_stripe[0]
    found = [what for _, what in named(await till.look())]
    assert found == ["credit here, nothing paid at Stripe", "recorded here, not at Stripe"]


async def test_what_is_under_way_is_open_and_becomes_a_difference_when_it_is_old(till: Till) -> None:
    payment_id = await till.sells(1000)
    await till.run("UPDATE payment SET state = 'open', paid_at = NULL")
    await till.run("DELETE FROM transfer")
    await till.run("DELETE FROM document")
    now = await till.look(after_minutes=5)
    assert (now.count, [group.open for group in now.groups]) == (0, [1])
    assert named(await till.look(after_minutes=16)) == [
        (f"payment {payment_id}", "paid at Stripe, no credit here")
    ]


async def test_what_is_paid_before_midnight_and_noted_after_it_differs_on_neither_day(till: Till) -> None:
    till.bank.clock.now = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    await till.sells(1000)
    await till.run("UPDATE stripe_movement SET created_at = created_at + interval '2 seconds'")
    for day in (DAY, date(2026, 2, 1)):
        found = await till.look(day, asked=False)
        assert (named(found), [group.items for group in found.groups]) == ([], [1])
    assert (await till.look(date(2026, 2, 2), asked=False)).groups == ()


async def test_what_an_operator_saw_on_the_bank_is_not_looked_for_at_stripe(till: Till) -> None:
    now = till.bank.clock()
    payment_id = new_id(now)
    async with till.bank.database.begin() as connection:
        await execute(
            connection, DOCUMENT, "invoice", till.customer.account_id, None, None, None, now, 1000
        )  # fmt: skip
    await till.run(
        "INSERT INTO payment (id, account_id, kind, way, state, value_nanodollars, net_cents, vat_cents,"
        " gross_cents, vat_code, vat_basis_points, buyer, created_at, paid_at, document_id)"
        " VALUES ($1, $2, 'invoice', 'bank', 'credited', 10000000000, 1000, 0, 1000, '3', 0, '{}', $3, $3, 1)",
        payment_id, till.customer.account_id, now,
    )  # fmt: skip
    await till.run(
        "INSERT INTO ledger_account (kind, account_id) VALUES ('receivable', $1)", till.customer.account_id
    )
    await till.moves(payment_id, "payments", "receivable", 1000 * NANODOLLARS_PER_CENT, "payment")
    found = await till.look()
    assert (named(found), found.groups[0].ledger_nanodollars) == ([], 1000 * NANODOLLARS_PER_CENT)
    await till.stripe_moves("charge", "ch_1", 1000, 59, None)
    await till.run("UPDATE stripe_movement SET payment_id = $1", payment_id)
    assert named(await till.look(asked=False)) == [
        (f"payment {payment_id}", "noted as paid by bank, and paid at Stripe too")
    ]
