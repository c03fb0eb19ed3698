"""Admission's refusals as the API's errors."""

from appliance.errors import AccountSuspended, ApiError, InsufficientCredit, ModelNotFound, RateLimited
from appliance.gateway.caller import wrong_key
from billing.admission import Refusal, Refused

_LIMITS = {
    Refusal.REQUESTS_PER_MINUTE: "requests per minute",
    Refusal.TOKENS_PER_MINUTE: "tokens per minute",
    Refusal.CONCURRENT_REQUESTS: "concurrent requests",
}


def as_error(refused: Refused, model: str) -> ApiError:
    match refused.reason:
        case Refusal.INVALID_KEY:
            return wrong_key()
        case Refusal.ACCOUNT_SUSPENDED:
            return AccountSuspended("This account is suspended. Contact support.")
        case Refusal.UNKNOWN_MODEL:
            return ModelNotFound(model)
        case Refusal.INSUFFICIENT_CREDIT | Refusal.COUNT_NEEDED:
            return InsufficientCredit("The account's credit does not cover this request. Add credit to go on.")
    return RateLimited(
        f"The account's limit of {_LIMITS[refused.reason]} is reached.",
        retry_after_seconds=refused.retry_after_seconds,
    )
