"""Stripe's refusals as the port's errors."""

import re
from collections.abc import Awaitable
from typing import TypeVar

import stripe

from billing.payments.provider import (
    BuyerRefused,
    Declined,
    Gone,
    KeyRefused,
    PaymentsRefused,
    PaymentsUnavailable,
    RightsMissing,
)

MESSAGE_CHARACTERS = 200
OF_BUYER = ("customer_tax_location_invalid", "tax_id_invalid")
"""Stripe's codes of what only who buys can put right."""

_REPEATED = re.compile(r"\S+@\S+|'[^']*'|\"[^\"]*\"")
_RIGHT = re.compile(r"'rak_[a-z_]{1,60}'")

Result = TypeVar("Result")


async def asked(call: Awaitable[Result]) -> Result:
    """The answer, or one of the port's errors. Nothing of a customer is in their messages but Stripe's ids."""
    try:
        return await call
    except stripe.CardError as error:
        seen = error.error
        code = (None if seen is None else getattr(seen, "decline_code", None)) or error.code or "declined"
        raise Declined("authentication_required" if error.code == "authentication_required" else code) from None
    except (stripe.APIConnectionError, stripe.RateLimitError):
        raise PaymentsUnavailable("Stripe cannot be reached") from None
    except stripe.AuthenticationError:
        raise KeyRefused("Stripe does not accept the key") from None
    except stripe.PermissionError as error:
        message = error.user_message or "the key has no right to this"
        raise RightsMissing(f"Stripe: {without_persons(message)}") from None
    except stripe.StripeError as error:
        status = error.http_status or 0
        if status >= 500 or status == 409:
            raise PaymentsUnavailable(f"Stripe answers {status}") from None
        if error.code == "resource_missing":
            raise Gone("Stripe has no such object") from None
        message = error.user_message or error.code or str(status)
        if error.code in OF_BUYER:
            raise BuyerRefused(f"Stripe: {without_persons(message)}") from None
        raise PaymentsRefused(f"Stripe: {without_persons(message)}") from None


def without_persons(message: str) -> str:
    """Some of Stripe's messages repeat what they refuse. The name of a right is kept."""
    return _REPEATED.sub(lambda found: found[0] if _RIGHT.fullmatch(found[0]) else "…", message)[
        :MESSAGE_CHARACTERS
    ]
