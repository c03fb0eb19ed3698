"""The adapter to Stripe: the only file that knows its library, with its API's version pinned."""

import stripe

API_VERSION = "2026-10-28.endive"
assert stripe.api_version == API_VERSION, "the library and the pinned version of the API have parted"
