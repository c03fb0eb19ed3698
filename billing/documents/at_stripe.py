"""What a movement of the balance at Stripe means for the seller, as SQL: for statements and books alike."""

FEE = "(fee_cents - CASE WHEN kind = 'stripe_fee' THEN cents ELSE 0 END)"
"""What Stripe kept, of a payment or by itself. Cents."""
PAID_OUT = "(CASE WHEN kind IN ('payout', 'payout_cancel', 'payout_failure') THEN -cents ELSE 0 END)"
"""What went to the seller's bank: less than nothing where a payout came back. Cents."""
