"""The ledger: append-only double entry, and the proof that its books balance.

Credit that a customer holds is a lot: a ledger account of its own (credit-normal: transfers in are credits).
``payments`` and ``grants`` are where it comes from, ``revenue`` is where it goes.
"""

from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import tables
from billing.clock import Clock
from billing.db import fetch
from billing.errors import NotFound

HOUSE_ACCOUNT_OF_SOURCE = {"purchase": "payments", "grant": "grants"}


async def add_credit(
    connection: AsyncConnection, account_id: int, amount: int, source: str, reason: str, clock: Clock
) -> int:
    """A new lot of ``amount`` nano-dollars; ``source`` is ``purchase`` or ``grant``. Returns the lot's id.

    Raises NotFound; ValueError if the amount is not above zero.
    """
    if amount <= 0:
        raise ValueError("an amount of credit must be above zero")
    now = clock()
    raised = await connection.execute(
        update(tables.account)
        .where(tables.account.c.id == account_id)
        .values(balance_nanodollars=tables.account.c.balance_nanodollars + amount)
    )
    if raised.rowcount != 1:
        raise NotFound(f"there is no account {account_id}")
    lot_id: int = (
        await connection.execute(
            insert(tables.ledger_account)
            .values(kind="lot", account_id=account_id)
            .returning(tables.ledger_account.c.id)
        )
    ).scalar_one()
    await connection.execute(
        insert(tables.lot).values(
            id=lot_id,
            account_id=account_id,
            source=source,
            reason=reason,
            acquired_at=now,
            amount_nanodollars=amount,
            remaining_nanodollars=amount,
        )
    )
    house = (
        select(tables.ledger_account.c.id)
        .where(tables.ledger_account.c.kind == HOUSE_ACCOUNT_OF_SOURCE[source])
        .scalar_subquery()
    )
    await connection.execute(
        insert(tables.transfer).values(
            debit_id=house, credit_id=lot_id, amount_nanodollars=amount, kind=source, created_at=now
        )
    )
    return lot_id


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """``expected`` and ``found`` are nano-dollars, or counts where the rule counts."""

    rule: str
    subject: str
    expected: int
    found: int


# Each query returns (subject, expected, found) for every row that breaks its rule.
RULES: dict[str, str] = {
    "an account's balance is the sum of its lots": """
        SELECT 'account ' || a.id, coalesce(sum(l.remaining_nanodollars), 0)::bigint, a.balance_nanodollars
        FROM account a LEFT JOIN lot l ON l.account_id = a.id
        GROUP BY a.id HAVING a.balance_nanodollars <> coalesce(sum(l.remaining_nanodollars), 0)""",
    "a lot's remainder is the sum of its transfers": """
        SELECT 'lot ' || l.id, coalesce(t.net, 0)::bigint, l.remaining_nanodollars
        FROM lot l LEFT JOIN (
            SELECT id, sum(net) AS net FROM (
                SELECT credit_id AS id, amount_nanodollars AS net FROM transfer
                UNION ALL SELECT debit_id, -amount_nanodollars FROM transfer
            ) sides GROUP BY id
        ) t ON t.id = l.id
        WHERE l.remaining_nanodollars <> coalesce(t.net, 0)""",
    "a lot's first transfer is its amount": """
        SELECT 'lot ' || l.id, l.amount_nanodollars, coalesce(sum(t.amount_nanodollars), 0)::bigint
        FROM lot l LEFT JOIN transfer t ON t.credit_id = l.id
        GROUP BY l.id HAVING l.amount_nanodollars <> coalesce(sum(t.amount_nanodollars), 0)""",
    "what is held of an account is the sum of its holds": """
        SELECT 'account ' || a.id, coalesce(sum(h.amount_nanodollars), 0)::bigint, a.held_nanodollars
        FROM account a LEFT JOIN hold h ON h.account_id = a.id
        GROUP BY a.id HAVING a.held_nanodollars <> coalesce(sum(h.amount_nanodollars), 0)""",
    "an account's open holds are counted right": """
        SELECT 'account ' || a.id, count(h.request_id), a.open_holds::bigint
        FROM account a LEFT JOIN hold h ON h.account_id = a.id
        GROUP BY a.id HAVING a.open_holds <> count(h.request_id)""",
    "no account is overdrawn": """
        SELECT 'account ' || id, 0::bigint, balance_nanodollars - held_nanodollars
        FROM account WHERE balance_nanodollars < held_nanodollars OR held_nanodollars < 0""",
    "a request's transfers add up to its cost": """
        SELECT 'request ' || coalesce(u.request_id, t.request_id),
               coalesce(u.cost_nanodollars, 0), coalesce(t.amount, 0)::bigint
        FROM usage u FULL JOIN (
            SELECT request_id, sum(amount_nanodollars) AS amount FROM transfer
            WHERE kind = 'usage' GROUP BY request_id
        ) t ON t.request_id = u.request_id
        WHERE u.request_id IS NULL OR u.cost_nanodollars <> coalesce(t.amount, 0)""",
    "a request is paid from its own account's lots, to revenue": """
        SELECT 'transfer ' || t.id, u.account_id, coalesce(l.account_id, 0)
        FROM transfer t
        JOIN usage u ON u.request_id = t.request_id
        LEFT JOIN lot l ON l.id = t.debit_id
        JOIN ledger_account c ON c.id = t.credit_id
        WHERE t.kind = 'usage' AND (l.account_id IS DISTINCT FROM u.account_id OR c.kind <> 'revenue')""",
    "a request costs its tokens at the rate of its admission": """
        SELECT 'request ' || request_id, expected, cost_nanodollars FROM (
            SELECT request_id, cost_nanodollars,
                   (exact / 1000 + CASE WHEN exact % 1000 > 500 OR (exact % 1000 = 500 AND exact / 1000 % 2 = 1)
                                   THEN 1 ELSE 0 END)::bigint AS expected
            FROM (
                SELECT u.request_id, u.cost_nanodollars,
                       (u.prompt_tokens - u.cached_tokens) * r.input + u.cached_tokens * r.cached_input
                       + u.completion_tokens * r.output AS exact
                FROM usage u JOIN rate r ON r.id = u.rate_id
            ) priced
        ) rounded WHERE cost_nanodollars <> expected""",
    "a transfer is between ledger accounts that exist": """
        SELECT 'transfer ' || t.id, 2::bigint, (d.id IS NOT NULL)::int + (c.id IS NOT NULL)::int
        FROM transfer t
        LEFT JOIN ledger_account d ON d.id = t.debit_id
        LEFT JOIN ledger_account c ON c.id = t.credit_id
        WHERE d.id IS NULL OR c.id IS NULL""",
    "a request belongs to an account, a key of it and a rate": """
        SELECT 'request ' || u.request_id, 2::bigint, (k.id IS NOT NULL)::int + (r.id IS NOT NULL)::int
        FROM (SELECT request_id, account_id, key_id, rate_id, model FROM usage
              UNION ALL SELECT request_id, account_id, key_id, rate_id, model FROM hold) u
        LEFT JOIN api_key k ON k.id = u.key_id AND k.account_id = u.account_id
        LEFT JOIN rate r ON r.id = u.rate_id AND r.model = u.model
        WHERE k.id IS NULL OR r.id IS NULL""",
    "a transfer goes where its kind says": """
        SELECT 'transfer ' || t.id, 1::bigint, 0::bigint
        FROM transfer t JOIN ledger_account d ON d.id = t.debit_id JOIN ledger_account c ON c.id = t.credit_id
        WHERE (t.kind, d.kind, c.kind) NOT IN
            (('purchase', 'payments', 'lot'), ('grant', 'grants', 'lot'), ('usage', 'lot', 'revenue'))""",
    "a lot is its ledger account's owner's, and came as its transfer says": """
        SELECT 'lot ' || l.id, l.account_id, coalesce(a.account_id, 0)
        FROM lot l JOIN ledger_account a ON a.id = l.id LEFT JOIN transfer t ON t.credit_id = l.id
        WHERE a.account_id IS DISTINCT FROM l.account_id OR t.kind IS DISTINCT FROM l.source""",
    "a request is either open or resolved": """
        SELECT 'request ' || h.request_id, 0::bigint, 1::bigint FROM hold h JOIN usage u USING (request_id)""",
}


async def verify(connection: AsyncConnection) -> list[Discrepancy]:
    """Every rule of the books against every row; empty if they balance.

    Sees one moment: give it a transaction of isolation level REPEATABLE READ (``Database.snapshot``).
    """
    return [
        Discrepancy(rule, row.subject, row.expected, row.found)
        for rule, query in RULES.items()
        for row in await fetch(connection, f"SELECT * FROM ({query}) AS broken (subject, expected, found)")  # noqa: S608 -- RULES is ours
    ]
