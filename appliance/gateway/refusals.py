"""Admission's decisions as the API tells them: errors, and OpenAI's rate limit headers."""

from appliance.errors import (
    AccountClosed,
    AccountSuspended,
    ApiError,
    BudgetSpent,
    InsufficientCredit,
    ModelNotFound,
    ModelNotInPlan,
    RateLimited,
)
from appliance.gateway import chat_words
from appliance.gateway.caller import Caller, wrong_key
from appliance.gateway.chat_words import Pages
from appliance.identity.languages import language_of_key
from appliance.texts import ENGLISH, Say, speaker
from billing.charging.admission import Meterstick, RateLimits, Refusal, Refused
from billing.database.db import Database
from billing.errors import DatabaseUnavailable

_LIMITS = {
    Refusal.REQUESTS_PER_MINUTE: "requests per minute",
    Refusal.TOKENS_PER_MINUTE: "tokens per minute",
    Refusal.CONCURRENT_REQUESTS: "concurrent requests",
}


class Refusals:
    """In the chat they are in words for its user, in that person's language, which is read when it is needed."""

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def of(self, caller: Caller, refused: Refused, model: str) -> ApiError:
        if caller.in_chat:
            return chat_words.as_error(refused, model, self._pages, await self._say(caller))
        return as_error(refused, model)

    async def unknown(self, caller: Caller) -> ApiError:
        """Of a caller of whom there is no good key."""
        return chat_words.sign_in_again(await self._say(caller)) if caller.in_chat else wrong_key()

    async def _say(self, caller: Caller) -> Say:
        try:
            async with self._database.begin() as connection:
                return speaker(await language_of_key(connection, caller.digest) or ENGLISH)
        except DatabaseUnavailable:
            return speaker(ENGLISH)


def as_error(refused: Refused, model: str) -> ApiError:
    match refused.reason:
        case Refusal.INVALID_KEY:
            return wrong_key()
        case Refusal.ACCOUNT_SUSPENDED:
            return AccountSuspended("This account is suspended. Contact support.")
        case Refusal.ACCOUNT_TERMINATED:
            return AccountClosed("This account was terminated. You may appeal to support within 30 days.")
        case Refusal.ACCOUNT_DELETING:
            return AccountClosed("This account is marked for deletion. Support can restore it within 30 days.")
        case Refusal.UNKNOWN_MODEL:
            return ModelNotFound(model)
        case Refusal.MODEL_NOT_IN_PLAN:
            return ModelNotInPlan(model)
        case Refusal.BUDGET_SPENT:
            return BudgetSpent("The account's budget for this month does not cover this request.")
        case Refusal.KEY_BUDGET_SPENT:
            return BudgetSpent("The API key's budget for this month does not cover this request.")
        case Refusal.INSUFFICIENT_CREDIT | Refusal.COUNT_NEEDED:
            return InsufficientCredit("The account's credit does not cover this request. Add credit to go on.")
    whose = "API key" if refused.of_key else "account"
    return RateLimited(
        f"The {whose}'s limit of {_LIMITS[refused.reason]} is reached.",
        retry_after_seconds=refused.retry_after_seconds,
    )


def limit_headers(limits: RateLimits) -> list[tuple[bytes, bytes]]:
    """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``; nothing where there is no limit."""
    headers = []
    for name, stick in (("requests", limits.requests), ("tokens", limits.tokens)):
        if stick is not None:
            headers += _headers(name, stick)
    return headers


def _headers(name: str, stick: Meterstick) -> list[tuple[bytes, bytes]]:
    values = {"limit": f"{stick.limit}", "remaining": f"{stick.remaining}", "reset": _span(stick.reset_seconds)}
    return [(f"x-ratelimit-{what}-{name}".encode(), value.encode()) for what, value in values.items()]


def _span(seconds: float) -> str:
    """As OpenAI writes it: ``120ms``, ``6.5s``, ``1m30s``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s" if minutes else f"{text}s"
