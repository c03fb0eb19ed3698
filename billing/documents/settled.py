"""What of each invoice is not to be paid any more."""

SETTLED = """
SELECT document_id, sum(cents)::bigint AS cents FROM (
    SELECT document_id, gross_cents AS cents FROM payment WHERE kind = 'invoice' AND state = 'credited'
    UNION ALL SELECT document_id, cents FROM allocation
    UNION ALL SELECT p.document_id, -d.cents FROM dispute d JOIN payment p ON p.id = d.payment_id
        WHERE p.kind = 'invoice' AND p.state = 'credited' AND d.state = 'lost'
) part GROUP BY 1
"""
"""A query of cents by invoice: paid and not taken back by a bank, or gone to it of what the operator gave up, or
noted without naming one."""
