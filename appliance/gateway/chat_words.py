"""What is told to whoever is refused in the chat. Pure.

LibreChat shows an error's status and message to its user, and cuts it after 512 characters. So each is a sentence
for people, that says what to do and where. It asks again by itself after 429 and 503, and gives up at once after
402 and 403. After 401, 404 and 429 its libraries add an address of their own, which helps nobody: what a user can
mend is a 402 or a 403.
"""

from dataclasses import dataclass

from appliance.errors import (
    AccountClosed,
    AccountSuspended,
    ApiError,
    BudgetSpent,
    ChatSignInNeeded,
    InsufficientCredit,
    ModelNotFound,
    ModelNotInPlan,
    RateLimited,
)
from appliance.texts import Say
from billing.charging.admission import Refusal, Refused


@dataclass(frozen=True, slots=True)
class Pages:
    """Where a customer does something about it. ``site`` is an origin; ``sells``: credit can be bought there."""

    site: str
    sells: bool


def not_named(say: Say) -> ChatSignInNeeded:
    return ChatSignInNeeded(say("The chat does not say who you are: sign out of the chat, and sign in again."))


def sign_in_again(say: Say) -> ChatSignInNeeded:
    return ChatSignInNeeded(say("Your sign-in to the chat has ended: sign out of the chat, and sign in again."))


def as_error(refused: Refused, model: str, pages: Pages, say: Say) -> ApiError:
    match refused.reason:
        case Refusal.INVALID_KEY:
            return sign_in_again(say)
        case Refusal.ACCOUNT_SUSPENDED:
            page = f"{pages.site}/standing"
            return AccountSuspended(
                say("Your account is suspended: {page} says why, and what you can do.", page=page)
            )
        case Refusal.ACCOUNT_TERMINATED | Refusal.ACCOUNT_DELETING:
            page = f"{pages.site}/standing"
            return AccountClosed(say("Your account is closed: {page} says why, and what you can do.", page=page))
        case Refusal.UNKNOWN_MODEL:
            return ModelNotFound(model)
        case Refusal.MODEL_NOT_IN_PLAN:
            page = f"{pages.site}/plan"
            return ModelNotInPlan(
                model, say("Your plan does not include this model: choose another at {page}.", page=page)
            )
        case Refusal.REQUESTS_PER_MINUTE | Refusal.TOKENS_PER_MINUTE | Refusal.CONCURRENT_REQUESTS:
            return _at_a_limit(refused, pages, say)
    return _not_covered(refused.reason, pages, say)


def _at_a_limit(refused: Refused, pages: Pages, say: Say) -> RateLimited:
    if refused.of_key:
        page = f"{pages.site}/keys"
        told = say("Your chat's limit is reached: wait a moment, or raise it at {page}.", page=page)
    else:
        told = say("Your account's limit is reached: wait a moment, and ask again.")
    return RateLimited(told, retry_after_seconds=refused.retry_after_seconds)


def _not_covered(reason: Refusal, pages: Pages, say: Say) -> InsufficientCredit:
    if reason is Refusal.BUDGET_SPENT:
        page = f"{pages.site}/contact"
        return BudgetSpent(
            say("Your account's budget of this month is used up: write to us at {page}.", page=page)
        )
    if reason is Refusal.KEY_BUDGET_SPENT:
        page = f"{pages.site}/keys"
        return BudgetSpent(say("Your chat's budget of this month is used up: raise it at {page}.", page=page))
    if pages.sells:
        page = f"{pages.site}/credit"
        told = say("Your credit does not cover this answer: buy more at {page}.", page=page)
    else:
        page = f"{pages.site}/contact"
        told = say("Your credit does not cover this answer: ask for more at {page}.", page=page)
    return InsufficientCredit(told)
