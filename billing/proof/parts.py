"""All parts of what was taken on a day, side by side, as SQL finds them. ``billing.proof.takings`` compares them.

``stripe_cents`` are US cents: what was charged, refunded or disputed. What moved on Stripe's balance by that, and
what Stripe kept, are in the balance's currency: ``moved_in``, ``moved_cents`` and ``fee_cents`` have one for each
movement.

Each query is given the day's start and end, and the moment since which what Stripe says now counts; before that,
what is on record does.
"""

from billing.database.sales import VAT_CAUSE

FRESH = """
CREATE TEMPORARY TABLE fresh_movement (
    id text PRIMARY KEY, kind text, source text, intent text, currency text, cents bigint, fee_cents bigint,
    net_cents bigint, usd_cents bigint, created_at timestamptz
) ON COMMIT DROP
"""

# A movement of a dispute is an adjustment at Stripe.
_MOVED = f"""
WITH movement AS (
    SELECT id, CASE WHEN kind = 'adjustment' AND source ~ '^d[pu]_' THEN 'dispute' ELSE kind END AS kind,
           source, intent, payment_id, currency, cents, fee_cents, usd_cents, created_at
    FROM (
        SELECT id, kind, source, intent, NULL::uuid AS payment_id, currency, cents, fee_cents, usd_cents,
               created_at
        FROM fresh_movement
        UNION ALL
        SELECT id, kind, source, intent, payment_id, currency, cents, fee_cents, usd_cents, created_at
        FROM stripe_movement WHERE created_at < $3
    ) both_ways
), charge AS (
    SELECT m.*, coalesce(p.id, m.payment_id) AS paid_for
    FROM movement m LEFT JOIN payment p ON p.intent = m.intent WHERE m.kind IN ('charge', 'payment')
), house AS (
    SELECT id FROM ledger_account WHERE kind = 'payments'
), moved AS NOT MATERIALIZED (
    SELECT cause, kind, created_at,
           CASE WHEN debit_id = house.id THEN amount_nanodollars ELSE -amount_nanodollars END AS amount
    FROM transfer JOIN house ON house.id IN (debit_id, credit_id)
), today AS (
    SELECT CASE WHEN kind = 'vat' THEN {VAT_CAUSE.format("cause")} ELSE cause END AS cause,
           kind, created_at, amount
    FROM moved WHERE created_at >= $1 AND created_at < $2
)
"""

_ON_BALANCE = """array_agg(currency) AS moved_in, array_agg(cents) AS moved_cents,
           array_agg(fee_cents) AS fee_cents"""
_NOTHING_MOVED = "NULL::text[] AS moved_in, NULL::bigint[] AS moved_cents, NULL::bigint[] AS fee_cents"


def _of_the_day(query: str, cause: str = "") -> str:
    """``cause`` is the column of that of its transfers."""
    written = {"vat_cause": VAT_CAUSE.format(cause), "on_balance": _ON_BALANCE, "nothing_moved": _NOTHING_MOVED}
    whole = f"{_MOVED}{query}"
    for name, text in written.items():
        whole = whole.replace(f"{{{name}}}", text)
    return whole


PAYMENTS = _of_the_day(
    """
, candidate AS (
    SELECT id FROM payment WHERE paid_at >= $1 AND paid_at < $2
    UNION SELECT paid_for FROM charge WHERE created_at >= $1 AND created_at < $2
    UNION SELECT cause FROM today
    UNION SELECT payment_id FROM document WHERE issued_at >= $1 AND issued_at < $2 AND kind <> 'credit_note'
), charged AS (
    SELECT paid_for, count(*) AS charges, coalesce(sum(usd_cents), 0)::bigint AS cents, {on_balance},
           max(created_at) AS at
    FROM charge GROUP BY paid_for
)
SELECT p.id, p.account_id, p.kind, p.way, p.state, p.gross_cents, p.value_nanodollars,
       coalesce(s.charges, 0) AS charges, coalesce(s.cents, 0) AS stripe_cents,
       s.moved_in, s.moved_cents, s.fee_cents,
       coalesce(l.amount, 0) AS ledger, lot.amount_nanodollars AS lot_nanodollars,
       d.documents, d.cents AS document_cents,
       EXISTS (SELECT 1 FROM refund WHERE payment_id = p.id) AS refunds,
       greatest(p.created_at, p.paid_at, s.at, l.at, d.at) AS newest_at
FROM candidate JOIN payment p USING (id) LEFT JOIN charged s ON s.paid_for = p.id
LEFT JOIN lot ON lot.cause = p.id
LEFT JOIN LATERAL (
    SELECT sum(amount)::bigint AS amount, max(created_at) AS at FROM moved WHERE cause IN (p.id, {vat_cause})
) l ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS documents, coalesce(sum(gross_cents), 0)::bigint AS cents, max(issued_at) AS at
    FROM document WHERE payment_id = p.id AND kind <> 'credit_note'
) d
ORDER BY p.kind, p.id
""",
    "p.id",
)

REFUNDS = _of_the_day(
    """
, candidate AS (
    SELECT id FROM refund WHERE created_at >= $1 AND created_at < $2 OR done_at >= $1 AND done_at < $2
    UNION SELECT r.id FROM movement m JOIN refund r ON r.stripe_id = m.source
          WHERE m.created_at >= $1 AND m.created_at < $2
    UNION SELECT cause FROM today
    UNION SELECT refund_id FROM document WHERE issued_at >= $1 AND issued_at < $2
), gone AS (
    SELECT source, count(*) AS charges, coalesce(sum(usd_cents), 0)::bigint AS cents, {on_balance},
           max(created_at) AS at
    FROM movement GROUP BY source
)
SELECT r.id, p.account_id, r.state, r.gross_cents, p.state AS payment_state, p.kind AS payment_kind,
       coalesce(s.charges, 0) AS charges, coalesce(s.cents, 0) AS stripe_cents,
       s.moved_in, s.moved_cents, s.fee_cents,
       coalesce(l.amount, 0) AS ledger, d.documents, d.cents AS document_cents,
       greatest(r.created_at, r.done_at, s.at, l.at, d.at) AS newest_at
FROM candidate JOIN refund r USING (id) JOIN payment p ON p.id = r.payment_id
LEFT JOIN gone s ON s.source = r.stripe_id
LEFT JOIN LATERAL (
    SELECT sum(amount)::bigint AS amount, max(created_at) AS at FROM moved WHERE cause IN (r.id, {vat_cause})
) l ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS documents, -coalesce(sum(gross_cents), 0)::bigint AS cents, max(issued_at) AS at
    FROM document WHERE refund_id = r.id
) d
ORDER BY r.id
""",
    "r.id",
)

DISPUTES = _of_the_day(
    """
, candidate AS (
    SELECT id FROM dispute WHERE opened_at >= $1 AND opened_at < $2 OR closed_at >= $1 AND closed_at < $2
    UNION SELECT source FROM movement WHERE created_at >= $1 AND created_at < $2
    UNION SELECT d.id FROM today t JOIN dispute d USING (cause)
), gone AS (
    SELECT source, count(*) AS charges, coalesce(sum(usd_cents), 0)::bigint AS cents, {on_balance},
           max(created_at) AS at
    FROM movement WHERE kind = 'dispute' GROUP BY source
)
SELECT d.id, p.account_id, d.state, d.cents, p.state AS payment_state,
       coalesce(s.charges, 0) AS charges, coalesce(s.cents, 0) AS stripe_cents,
       s.moved_in, s.moved_cents, s.fee_cents,
       coalesce(l.amount, 0) AS ledger, 0::bigint AS document_cents,
       greatest(d.opened_at, d.closed_at, s.at, l.at) AS newest_at
FROM candidate JOIN dispute d USING (id) JOIN payment p ON p.id = d.payment_id
LEFT JOIN gone s ON s.source = d.id
LEFT JOIN LATERAL (
    SELECT sum(amount)::bigint AS amount, max(created_at) AS at FROM moved WHERE cause IN (d.cause, {vat_cause})
) l ON true
ORDER BY d.id
""",
    "d.cause",
)

MOVEMENTS = _of_the_day("""
SELECT m.id, m.kind, NULL::bigint AS account_id, 1::bigint AS charges,
       coalesce(m.usd_cents, 0) AS stripe_cents, ARRAY[m.currency] AS moved_in, ARRAY[m.cents] AS moved_cents,
       ARRAY[m.fee_cents] AS fee_cents,
       (SELECT sum(coalesce(usd_cents, cents)) FROM movement WHERE source = m.source)::bigint AS net,
       0::bigint AS ledger, 0::bigint AS document_cents, m.created_at AS newest_at
FROM movement m LEFT JOIN charge c ON c.id = m.id
WHERE m.created_at >= $1 AND m.created_at < $2
  AND NOT EXISTS (SELECT 1 FROM payment WHERE id = c.paid_for)
  AND NOT EXISTS (SELECT 1 FROM refund WHERE stripe_id = m.source)
  AND NOT EXISTS (SELECT 1 FROM dispute WHERE id = m.source)
ORDER BY m.kind, m.created_at, m.id
""")

TRANSFERS = _of_the_day("""
SELECT t.cause AS id, t.kind, NULL::bigint AS account_id, 0::bigint AS charges, 0::bigint AS stripe_cents,
       {nothing_moved}, t.amount AS ledger, 0::bigint AS document_cents, t.created_at AS newest_at
FROM today t
WHERE NOT EXISTS (SELECT 1 FROM payment WHERE id = t.cause)
  AND NOT EXISTS (SELECT 1 FROM refund WHERE id = t.cause)
  AND NOT EXISTS (SELECT 1 FROM dispute WHERE cause = t.cause)
ORDER BY t.kind, t.created_at, t.cause
""")

# The amounts of these are in the other items already, as Stripe has them.
RECORDED = f"""
SELECT s.id, s.kind, NULL::bigint AS account_id, 0::bigint AS charges, 0::bigint AS stripe_cents,
       {_NOTHING_MOVED}, 0::bigint AS ledger, 0::bigint AS document_cents, s.created_at AS newest_at,
       f.id IS NULL AS gone
FROM stripe_movement s LEFT JOIN fresh_movement f USING (id)
WHERE s.created_at >= $1 AND s.created_at < $2
  AND (f.id IS NULL OR (s.kind, s.currency, s.cents, s.fee_cents, s.net_cents, s.usd_cents)
       IS DISTINCT FROM (f.kind, f.currency, f.cents, f.fee_cents, f.net_cents, f.usd_cents))
ORDER BY s.id
"""
