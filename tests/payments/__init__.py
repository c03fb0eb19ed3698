"""Money that comes: credit, plans, what Stripe tells."""
