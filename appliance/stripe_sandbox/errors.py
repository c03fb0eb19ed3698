"""What Stripe answers instead of an object.

StripeError
    InvalidRequest      400, 404: type ``invalid_request_error``
    CardError           402: type ``card_error``
    IdempotencyMismatch 400: type ``idempotency_error``
    KeyInUse            409
    Unauthorized        401
    TooManyRequests     429
"""

from __future__ import annotations

from typing import Any

DOCUMENTATION = "https://stripe.com/docs/error-codes"


class StripeError(Exception):
    """``fields`` are those of Stripe's error object that have a value."""

    def __init__(self, status: int, kind: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.fields = {"type": kind, "message": message} | {name: value for name, value in fields.items() if value}

    def body(self) -> dict[str, Any]:
        code = self.fields.get("code")
        where = {"doc_url": f"{DOCUMENTATION}/{code.replace('_', '-')}"} if code else {}
        return {"error": {**self.fields, **where}}


class InvalidRequest(StripeError):
    """``executed`` if it was found out while the request was carried out: then the key keeps this answer."""

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, status: int = 400, **more: Any
    ) -> None:
        super().__init__(status, "invalid_request_error", message, code=code, param=param, **more)


class BadParameter(InvalidRequest):
    """The parameters cannot be read: nothing was carried out, and the idempotency key stays free."""


class CardError(StripeError):
    def __init__(self, message: str, *, code: str, decline_code: str | None = None, **more: Any) -> None:
        super().__init__(402, "card_error", message, code=code, decline_code=decline_code, **more)


class IdempotencyMismatch(StripeError):
    def __init__(self, key: str) -> None:
        super().__init__(
            400,
            "idempotency_error",
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request.",
        )


class KeyInUse(StripeError):
    def __init__(self, key: str) -> None:
        super().__init__(
            409,
            "idempotency_error",
            f"There is currently another in-progress request using this Idempotency Key: {key}.",
            code="idempotency_key_in_use",
        )


class Unauthorized(StripeError):
    def __init__(self, message: str) -> None:
        super().__init__(401, "invalid_request_error", message)


class TooManyRequests(StripeError):
    def __init__(self) -> None:
        super().__init__(429, "invalid_request_error", "Too many requests.", code="rate_limit")


IN_THE_PATH = ("id", "intent", "session")
"""As Stripe calls the id in a path: what it names is not found, while what a parameter names is a bad request."""


def missing(kind: str, name: str, param: str = "id") -> InvalidRequest:
    status = 404 if param in IN_THE_PATH else 400
    return InvalidRequest(f"No such {kind}: '{name}'", code="resource_missing", param=param, status=status)
