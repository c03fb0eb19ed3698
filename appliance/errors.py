"""What the API answers when it does not answer: OpenAI's error shape, one class a cause.

ApiError
├── InvalidRequest        400  bad JSON, a bad type, a field that cannot be served; names the field
├── InvalidKey            401  no key, or one that is unknown or revoked
├── InsufficientCredit    402  clients retry a 429 for minutes; nothing but a payment mends this
│   └── BudgetSpent       402  the budget that the account or the key has set itself for the month
├── AccountSuspended      403
├── AccountClosed         403  terminated, or marked for deletion
├── ModelNotInPlan        403  the account's plan is for other models
├── ChatSignInNeeded      403  the chat asks for nobody, or for somebody who is not signed in to it any more
├── ModelNotFound         404
├── NotFound              404  no such path
├── MethodNotAllowed      405
├── RequestTimeout        408  the body did not come
├── BodyTooLarge          413
├── UnsupportedEncoding   415  the body is packed in another way than gzip; with Accept-Encoding
├── RateLimited           429  with Retry-After
├── InternalError         500
└── Unavailable           503  with Retry-After: the engine is away or its queue full, or the database is away
"""

import json
import math

RETRY_SECONDS = 1.0


class ApiError(Exception):
    """``message`` is shown to the caller."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def document(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        return json.dumps(self.document()).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Retry-After`` is whole seconds (RFC 9110), rounded up."""
        if self.retry_after_seconds is None:
            return []
        return [(b"retry-after", str(max(1, math.ceil(self.retry_after_seconds))).encode())]


class InvalidRequest(ApiError):
    status = 400
    type = "invalid_request_error"


class InvalidKey(ApiError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class InsufficientCredit(ApiError):
    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"


class BudgetSpent(InsufficientCredit):
    code = "budget_exceeded"


class AccountSuspended(ApiError):
    status = 403
    type = "permission_error"
    code = "account_suspended"


class AccountClosed(ApiError):
    status = 403
    type = "permission_error"
    code = "account_closed"


class ModelNotInPlan(ApiError):
    status = 403
    type = "permission_error"
    code = "model_not_in_plan"

    def __init__(self, model: str, message: str | None = None) -> None:
        super().__init__(message or f"The account's plan does not include the model `{model}`.", param="model")


class ChatSignInNeeded(ApiError):
    status = 403
    type = "permission_error"
    code = "chat_sign_in_needed"


class NotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model `{model}` does not exist or you do not have access to it.", param="model")


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"Use {allowed} here.")
        self._allowed = allowed

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", self._allowed.encode())]


class RequestTimeout(ApiError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedEncoding(ApiError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_encoding"

    def __init__(self) -> None:
        super().__init__("A body may be sent as it is, or with content-encoding: gzip.")

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"accept-encoding", b"gzip")]


class RateLimited(ApiError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InternalError(ApiError):
    code = "internal_error"


class Unavailable(ApiError):
    status = 503
    type = "service_unavailable"
    code = "service_unavailable"

    def __init__(self, message: str, retry_after_seconds: float = RETRY_SECONDS) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
