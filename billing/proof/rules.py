"""The proof that the books balance.

Credit that a customer holds is a lot, a debt a receivable: ledger accounts of their own. Lots are credit-normal
(transfers in are credits), receivables debit-normal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import fetch
from billing.database.sales import VAT_CAUSE
from billing.database.tables import TRANSFERS
from billing.ids import lowest_id
from billing.prices.money import NANODOLLARS_PER_CENT


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """``expected`` and ``found`` are nano-dollars, or counts where the rule counts."""

    rule: str
    subject: str
    expected: int
    found: int


_KINDS = ", ".join(f"('{kind}', '{debit}', '{credit}')" for kind, (debit, credit) in TRANSFERS.items())

# Each ledger account's credits less its debits.
_NET = """
    SELECT id, sum(net) AS net FROM (
        SELECT credit_id AS id, amount_nanodollars AS net FROM transfer
        UNION ALL SELECT debit_id, -amount_nanodollars FROM transfer
        UNION ALL SELECT ledger_account_id, nanodollars FROM carried_forward
    ) sides GROUP BY id"""

# Each query returns (subject, expected, found) for every row that breaks its rule.

STATE_RULES: dict[str, str] = {
    "an account's balance is the sum of its lots": """
        SELECT 'account ' || a.id, coalesce(sum(l.remaining_nanodollars), 0)::bigint, a.balance_nanodollars
        FROM account a LEFT JOIN lot l ON l.account_id = a.id
        GROUP BY a.id HAVING a.balance_nanodollars <> coalesce(sum(l.remaining_nanodollars), 0)""",
    "credit that is over is looked for when its end has come": """
        SELECT 'account ' || a.id, 1::bigint, 0::bigint
        FROM account a LEFT JOIN (SELECT account_id, min(ends_at) AS ends_at FROM lot WHERE open GROUP BY 1) l
            ON l.account_id = a.id
        WHERE a.sweep_at IS DISTINCT FROM l.ends_at""",
    "what is held of an account is the sum of its holds": """
        SELECT 'account ' || a.id, coalesce(h.held, 0)::bigint, a.held_nanodollars
        FROM account a LEFT JOIN (SELECT account_id, sum(amount_nanodollars) AS held FROM hold GROUP BY 1) h
            ON h.account_id = a.id
        WHERE a.held_nanodollars <> coalesce(h.held, 0)""",
    "what is held of a key is the sum of its holds": """
        SELECT 'key ' || k.key_id, coalesce(h.held, 0)::bigint, k.held_nanodollars
        FROM key_limit k
        LEFT JOIN (SELECT key_id, sum(amount_nanodollars) AS held, count(*) AS holds FROM hold GROUP BY 1) h
            USING (key_id)
        WHERE (k.held_nanodollars, k.open_holds) <> (coalesce(h.held, 0), coalesce(h.holds, 0))""",
    "an account's open holds are counted right": """
        SELECT 'account ' || a.id, coalesce(h.holds, 0), a.open_holds::bigint
        FROM account a LEFT JOIN (SELECT account_id, count(*) AS holds FROM hold GROUP BY 1) h
            ON h.account_id = a.id
        WHERE a.open_holds <> coalesce(h.holds, 0)""",
    "a rate is taken back before it takes effect, and on record": """
        SELECT coalesce('rate ' || w.rate_id, a.subject), 1::bigint,
               coalesce(w.at < r.effective_at AND a.subject IS NOT NULL, false)::int::bigint
        FROM rate_withdrawal w LEFT JOIN rate r ON r.id = w.rate_id
        FULL JOIN (SELECT subject, at FROM audit WHERE action = 'rate taken back') a
            ON a.subject = 'rate ' || w.rate_id AND a.at = w.at
        WHERE w.rate_id IS NULL OR r.id IS NULL OR a.subject IS NULL OR w.at >= r.effective_at""",
    "no account is overdrawn": """
        SELECT 'account ' || id, 0::bigint, balance_nanodollars - held_nanodollars
        FROM account
        WHERE held_nanodollars < 0 OR balance_nanodollars < 0
           OR credit_limit_nanodollars IS NULL AND balance_nanodollars < held_nanodollars""",
}
"""About accounts, lots and holds as they are."""

RECORD_RULES: dict[str, str] = {
    "a request's transfers add up to its cost": """
        SELECT 'request ' || coalesce(u.request_id, t.cause),
               coalesce(u.cost_nanodollars, 0), coalesce(t.amount, 0)::bigint
        FROM usage u FULL JOIN (
            SELECT cause, sum(amount_nanodollars) AS amount FROM transfer
            WHERE kind IN ('usage', 'postpaid') GROUP BY cause
        ) t ON t.cause = u.request_id
        WHERE u.request_id IS NULL OR u.cost_nanodollars <> coalesce(t.amount, 0)""",
    "a request is paid by its own account": """
        SELECT 'request ' || t.cause, u.account_id, coalesce(l.account_id, 0)
        FROM transfer t
        JOIN usage u ON u.request_id = t.cause
        LEFT JOIN ledger_account l ON l.id = t.debit_id
        WHERE t.kind IN ('usage', 'postpaid') AND l.account_id IS DISTINCT FROM u.account_id""",
    "a request costs its tokens at the rate of its admission": """
        SELECT 'request ' || request_id, expected, cost_nanodollars FROM (
            SELECT request_id, cost_nanodollars,
                   (exact / 1000 + CASE WHEN exact % 1000 > 500 OR (exact % 1000 = 500 AND exact / 1000 % 2 = 1)
                                   THEN 1 ELSE 0 END)::bigint AS expected
            FROM (
                SELECT u.request_id, u.cost_nanodollars,
                       CASE WHEN greatest(u.prompt_tokens, u.completion_tokens, u.images, u.audio_seconds) = 0
                       THEN 0
                       ELSE (u.prompt_tokens - u.cached_tokens) * r.input + u.cached_tokens * r.cached_input
                            + u.completion_tokens * r.output
                            + 1000 * (r.request + u.images * r.image + u.audio_seconds * r.audio_second)
                       END AS exact
                FROM usage u JOIN rate r ON r.id = u.rate_id
            ) priced
        ) rounded WHERE cost_nanodollars <> expected""",
    "a rate that was taken back is charged to nobody": """
        SELECT 'request ' || u.request_id, 0::bigint, u.cost_nanodollars
        FROM usage u JOIN rate_withdrawal w ON w.rate_id = u.rate_id""",
    "a transfer is between ledger accounts that exist": """
        SELECT 'transfer ' || t.cause, 2::bigint, (d.id IS NOT NULL)::int + (c.id IS NOT NULL)::int
        FROM transfer t
        LEFT JOIN ledger_account d ON d.id = t.debit_id
        LEFT JOIN ledger_account c ON c.id = t.credit_id
        WHERE d.id IS NULL OR c.id IS NULL""",
    "a transfer goes where its kind says": f"""
        SELECT 'transfer ' || t.cause, 1::bigint, 0::bigint
        FROM transfer t JOIN ledger_account d ON d.id = t.debit_id JOIN ledger_account c ON c.id = t.credit_id
        WHERE (t.kind, d.kind, c.kind) NOT IN ({_KINDS})""",
    "a request belongs to an account, a key of it and a rate": """
        SELECT 'request ' || u.request_id, 2::bigint, (k.id IS NOT NULL)::int + (r.id IS NOT NULL)::int
        FROM (SELECT request_id, account_id, key_id, rate_id, model FROM usage
              UNION ALL SELECT request_id, account_id, key_id, rate_id, model FROM hold) u
        LEFT JOIN api_key k ON k.id = u.key_id AND k.account_id = u.account_id
        LEFT JOIN rate r
            ON r.id = u.rate_id AND r.model = u.model AND coalesce(r.account_id, u.account_id) = u.account_id
        WHERE k.id IS NULL OR r.id IS NULL""",
    "a request's id has the time of its admission in it": """
        SELECT 'request ' || request_id, (extract(epoch FROM created_at) * 1000)::bigint, milliseconds
        FROM (
            SELECT request_id, created_at,
                   ('x' || left(replace(request_id::text, '-', ''), 12))::bit(48)::bigint AS milliseconds
            FROM usage
        ) dated WHERE abs(extract(epoch FROM created_at) * 1000 - milliseconds) > 86400000""",
    "a request is either open or resolved": """
        SELECT 'request ' || h.request_id, 0::bigint, 1::bigint FROM hold h JOIN usage u USING (request_id)""",
}
"""About each usage row and each transfer; with ``since`` about the newer ones."""

HISTORY_RULES: dict[str, str] = {
    "a lot's remainder is the sum of its transfers": f"""
        SELECT 'lot ' || l.id, coalesce(t.net, 0)::bigint, l.remaining_nanodollars
        FROM lot l LEFT JOIN ({_NET}) t ON t.id = l.id
        WHERE l.remaining_nanodollars <> coalesce(t.net, 0)""",
    "what an account owes is the sum of its receivable's transfers": f"""
        SELECT 'account ' || a.id, coalesce(-t.net, 0)::bigint, a.owed_nanodollars
        FROM account a LEFT JOIN ledger_account r ON r.kind = 'receivable' AND r.account_id = a.id
        LEFT JOIN ({_NET}) t ON t.id = r.id
        WHERE a.owed_nanodollars <> coalesce(-t.net, 0)""",
    "what is set aside for disputes is what is frozen of lots": f"""
        SELECT 'disputed', coalesce(frozen, 0)::bigint, coalesce(t.net, 0)::bigint
        FROM ledger_account d LEFT JOIN ({_NET}) t ON t.id = d.id
        CROSS JOIN (SELECT sum(frozen_nanodollars) AS frozen FROM lot) l
        WHERE d.kind = 'disputed' AND coalesce(t.net, 0) <> coalesce(frozen, 0)""",
    "a lot's first transfer is its amount": """
        SELECT 'lot ' || l.id, l.amount_nanodollars, t.amount_nanodollars
        FROM lot l JOIN transfer t ON t.cause = l.cause WHERE l.amount_nanodollars <> t.amount_nanodollars""",
    "a lot is its ledger account's owner's, and came as its transfer says": """
        SELECT 'lot ' || l.id, l.account_id, coalesce(a.account_id, 0)
        FROM lot l JOIN ledger_account a ON a.id = l.id LEFT JOIN transfer t ON t.cause = l.cause
        WHERE a.account_id IS DISTINCT FROM l.account_id
           OR t.cause IS NOT NULL AND (t.kind, t.credit_id) <> (l.source, l.id)
           OR t.cause IS NULL AND NOT EXISTS (
               SELECT 1 FROM archive
               WHERE relation = 'transfer' AND financial_year = date_part('year', l.acquired_at))""",
    "a month's spending is what was admitted in it": """
        SELECT 'account ' || a.id, coalesce(u.cost, 0)::bigint, a.month_spent_nanodollars
        FROM account a LEFT JOIN (
            SELECT account_id, 12 * date_part('year', at) + date_part('month', at) - 1 AS month, sum(cost) AS cost
            FROM (SELECT account_id, created_at AT TIME ZONE 'UTC' AS at, cost_nanodollars AS cost FROM usage) one
            GROUP BY 1, 2
        ) u ON u.account_id = a.id AND u.month = a.month
        WHERE a.month_spent_nanodollars <> coalesce(u.cost, 0)
          AND a.month / 12 > coalesce((SELECT max(financial_year) FROM archive), 0)""",
}
"""About sums over all there ever was."""

SALES_RULES: dict[str, str] = {
    "the documents of a series have all its numbers": """
        SELECT 'series ' || s.name, s.last, count(d.id)
        FROM document_series s LEFT JOIN document d ON d.series = s.name AND d.number BETWEEN 1 AND s.last
        GROUP BY s.name HAVING s.last <> count(d.id)""",
    "a receipt is of what was paid, and of whoever paid": f"""
        SELECT 'document ' || d.id, p.gross_cents * {NANODOLLARS_PER_CENT}, d.gross_cents * {NANODOLLARS_PER_CENT}
        FROM document d JOIN payment p ON p.id = d.payment_id
        WHERE (d.net_cents, d.vat_cents, d.gross_cents, d.vat_code, d.account_id)
            <> (p.net_cents, p.vat_cents, p.gross_cents, p.vat_code, p.account_id)
           OR p.state NOT IN ('credited', 'unwanted')""",
    "a credit note is of what was paid back": f"""
        SELECT 'document ' || d.id, r.gross_cents * {NANODOLLARS_PER_CENT}, d.gross_cents * {NANODOLLARS_PER_CENT}
        FROM document d JOIN refund r ON r.id = d.refund_id
        LEFT JOIN document o ON o.id = d.corrects_id
        WHERE (d.net_cents, d.vat_cents, d.gross_cents) <> (r.net_cents, r.vat_cents, r.gross_cents)
           OR o.account_id IS DISTINCT FROM d.account_id""",
    "no more is taken back of a document than it was of": f"""
        SELECT 'document ' || o.id, o.gross_cents * {NANODOLLARS_PER_CENT},
               sum(n.gross_cents)::bigint * {NANODOLLARS_PER_CENT}
        FROM document o JOIN document n ON n.corrects_id = o.id
        GROUP BY o.id HAVING sum(n.gross_cents) > o.gross_cents OR sum(n.vat_cents) > o.vat_cents""",
    "a payment's transfers add up to what was paid": f"""
        SELECT 'payment ' || p.id, p.gross_cents * {NANODOLLARS_PER_CENT}, coalesce(t.amount, 0)::bigint
        FROM payment p LEFT JOIN LATERAL (
            SELECT sum(t.amount_nanodollars) AS amount FROM transfer t JOIN ledger_account a ON a.id = t.debit_id
            WHERE a.kind = 'payments' AND t.cause IN (p.id, {VAT_CAUSE.format("p.id")})
        ) t ON true
        WHERE p.state = 'credited' AND p.gross_cents * {NANODOLLARS_PER_CENT} <> coalesce(t.amount, 0)
          AND date_part('year', p.paid_at) > coalesce((SELECT max(financial_year) FROM archive), 0)""",
}
"""About documents and payments. That none is missing, the reconciliation of the day looks after."""

RULES = STATE_RULES | RECORD_RULES | HISTORY_RULES | SALES_RULES

# What the rules call usage and transfer are the newer ones only.
_SINCE = """
    WITH usage AS (SELECT * FROM usage WHERE request_id >= $1),
         transfer AS (SELECT * FROM transfer WHERE cause >= $1) """


async def verify(connection: AsyncConnection, since: datetime | None = None) -> list[Discrepancy]:
    """The rules against every row; empty if the books balance.

    With ``since``, what can be checked without reading everything: the state, and the records of requests that
    came after it. Sees one moment: give it a transaction of isolation level REPEATABLE READ
    (``Database.snapshot``).
    """
    if since is None:
        return await _check(connection, RULES)
    newer = await _check(connection, RECORD_RULES, _SINCE, lowest_id(since))
    return await _check(connection, STATE_RULES) + newer


async def _check(
    connection: AsyncConnection, rules: Mapping[str, str], prefix: str = "", *parameters: object
) -> list[Discrepancy]:
    return [
        Discrepancy(rule, row.subject, row.expected, row.found)
        for rule, query in rules.items()
        for row in await fetch(
            connection, f"{prefix}SELECT * FROM ({query}) AS broken (subject, expected, found)", *parameters
        )
    ]
