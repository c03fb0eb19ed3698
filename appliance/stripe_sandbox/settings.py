"""What an operator or a test chooses about the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

API_VERSION = "2026-10-28.endive"
DAY_SECONDS = 86_400
RETRY_AFTER_DAYS = (1, 3, 5, 7)
"""After the first failed try of a renewal, as Stripe's own schedule can be set."""


class AfterRetries(StrEnum):
    """What becomes of a subscription whose renewal could not be paid in any of the tries."""

    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """``address`` is the origin under which browsers reach the pages. Without ``webhook_url`` nothing is sent.

    Everything is sold in ``sold_in``. The balance is kept in ``default_currency``, of which a unit of the other is
    worth ``exchange_rate``, until the operator says otherwise.

    ``seed`` makes ids and misbehaviour the same in each run; without one, every new sandbox has its own.
    """

    api_key: str
    webhook_secret: str
    address: str = "http://127.0.0.1:8002"
    webhook_url: str | None = None
    account_country: str = "NO"
    sold_in: str = "usd"
    default_currency: str = "usd"
    exchange_rate: float = 1.0
    after_retries: AfterRetries = AfterRetries.PAST_DUE
    retry_after_days: tuple[int, ...] = RETRY_AFTER_DAYS
    seed: str | None = None
