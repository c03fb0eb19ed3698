"""The key of the test account that the scenarios may use."""

from collections.abc import Mapping

VARIABLE = "STRIPE_TEST_KEY"
LIVE = ("sk_live_", "rk_live_")
TEST = ("sk_test_", "rk_test_")


class NoTestKey(Exception):
    """The scenarios do not run; the message says why in one sentence, and has nothing of the key in it."""


def required_key(environment: Mapping[str, str]) -> str:
    """Raises NoTestKey."""
    key = environment.get(VARIABLE, "")
    if key.startswith(LIVE):
        raise NoTestKey(f"{VARIABLE} is a live key, which moves real money: these checks take a test key alone.")
    if not key.startswith(TEST):
        raise NoTestKey(f"Set {VARIABLE} to the secret key of a test account at Stripe: it begins with sk_test_.")
    return key
