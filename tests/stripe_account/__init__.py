"""Scenarios that know Stripe by its API alone: against our stand-in, and against a test account at Stripe."""
