"""Admission: may this request run, and how far? Decided for a batch in one transaction, nothing cached.

``decide`` is pure; docs/money.md has its rules. ``Admission`` gives it the accounts under their locks, and writes
the holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from uuid import UUID

import msgspec
from msgspec.structs import replace

from billing.charging import limits
from billing.charging.batch import Batcher
from billing.clock import Clock
from billing.ledger.sweep import sweep_due
from billing.prices.pricing import Rate, affordable_completion, worst_cost
from billing.store.port import Allowance, Asked, Changes, NewHold, Notice, Source, Standing, Store, Transaction

CONCURRENCY_RETRY_SECONDS = 1.0


class Request(msgspec.Struct, frozen=True, gc=False):
    """What admission must know of a request. The limits are tokens.

    ``prompt_limit`` bounds the prompt tokens of all prompts together and is exact if ``counted``.
    ``completion_limit`` is what the client asked for, per sequence; ``sequences`` is prompts x n.
    """

    id: UUID
    key_digest: bytes
    model: str
    endpoint: str
    prompt_limit: int
    completion_limit: int
    sequences: int = 1
    counted: bool = False
    images: int = 0
    audio_seconds: int = 0


class Refusal(Enum):
    INVALID_KEY = "invalid_key"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_TERMINATED = "account_terminated"
    ACCOUNT_DELETING = "account_deleting"
    UNKNOWN_MODEL = "unknown_model"
    MODEL_NOT_IN_PLAN = "model_not_in_plan"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT_REQUESTS = "concurrent_requests"
    INSUFFICIENT_CREDIT = "insufficient_credit"
    BUDGET_SPENT = "budget_spent"
    KEY_BUDGET_SPENT = "key_budget_spent"
    COUNT_NEEDED = "count_needed"
    """The bound of the prompt does not fit what is available; its exact count may. Ask again, counted."""


class Meterstick(msgspec.Struct, frozen=True, gc=False):
    """A limit of so much a minute as the client is told of it."""

    limit: int
    remaining: int
    reset_seconds: float


class RateLimits(msgspec.Struct, frozen=True, gc=False):
    """The tighter of the account's and the key's; None where neither has one."""

    requests: Meterstick | None = None
    tokens: Meterstick | None = None


NO_LIMITS = RateLimits()


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """``hold`` in nano-dollars is the most that will be charged; ``completion_limit`` is tokens per sequence."""

    request: Request
    account_id: int
    key_id: int
    rate: Rate
    hold: int
    completion_limit: int
    priority: int = 0
    limits: RateLimits = NO_LIMITS


class Refused(msgspec.Struct, frozen=True, gc=False):
    """``of_key``: the limit that is reached is the key's own."""

    reason: Refusal
    retry_after_seconds: float | None = None
    of_key: bool = False
    limits: RateLimits = NO_LIMITS


Decision = Admitted | Refused

_BY_STATUS = {
    "suspended": Refusal.ACCOUNT_SUSPENDED,
    "terminated": Refusal.ACCOUNT_TERMINATED,
    "deleting": Refusal.ACCOUNT_DELETING,
    "deleted": Refusal.ACCOUNT_DELETING,
}
_NO_KEY = Allowance()


def decide(
    requests: Iterable[Request],
    asked: Iterable[Asked | None],
    accounts: Mapping[int, Standing],
    keys: Mapping[int, Allowance],
    allowances: Mapping[int, int],
    now: datetime,
) -> tuple[list[Decision], dict[int, Standing], dict[int, Allowance]]:
    """A decision for each request, in order, and the accounts and keys after those admitted.

    ``keys`` are those with limits of their own; ``allowances`` what the accounts that may spend nothing else have
    left of their plan's allowance, in nano-dollars.
    """
    month = limits.month_of(now)
    accounts_after = {id_: limits.account_in_month(account, month) for id_, account in accounts.items()}
    keys_after = {id_: limits.in_month(key, month) for id_, key in keys.items()}
    decisions: list[Decision] = []
    for request, caller in zip(requests, asked, strict=True):
        if caller is None or caller.revoked:
            decisions.append(Refused(Refusal.INVALID_KEY))
            continue
        account, key = accounts_after[caller.account_id], keys_after.get(caller.key_id)
        decision = _decide_one(request, caller, account, key, allowances.get(account.id), now)
        if isinstance(decision, Admitted):
            accounts_after[account.id] = replace(account, use=_with_hold(account.use, decision.hold, now))
            if key is not None:
                keys_after[caller.key_id] = _with_hold(key, decision.hold, now)
        key = keys_after.get(caller.key_id, _NO_KEY)
        decisions.append(_with_limits(decision, accounts_after[account.id].use, key, now))
    return decisions, accounts_after, keys_after


def _decide_one(
    request: Request,
    caller: Asked,
    account: Standing,
    key: Allowance | None,
    allowance: int | None,
    now: datetime,
) -> Decision:
    if account.status != "active":
        return Refused(_BY_STATUS[account.status])
    rate = caller.rate
    if rate is None:
        return Refused(Refusal.UNKNOWN_MODEL)
    if account.models is not None and request.model not in account.models:
        return Refused(Refusal.MODEL_NOT_IN_PLAN)
    if limited := _limited(account.use, now, of_key=False):
        return limited
    if key is not None and (limited := _limited(key, now, of_key=True)):
        return limited
    available, want = _available(account, key, allowance)
    affordable = affordable_completion(
        rate, available, request.prompt_limit, request.sequences, request.images, request.audio_seconds
    )
    if affordable is None or affordable >= request.completion_limit:
        completion_limit = request.completion_limit
    elif not request.counted and _could_pay_any(rate, available, request):
        return Refused(Refusal.COUNT_NEEDED)
    elif affordable < 1:
        return Refused(want)
    else:
        completion_limit = affordable
    return Admitted(
        request=request,
        account_id=account.id,
        key_id=caller.key_id,
        rate=rate,
        hold=worst_cost(
            rate,
            request.prompt_limit,
            completion_limit * request.sequences,
            request.images,
            request.audio_seconds,
        ),
        completion_limit=completion_limit,
        priority=account.priority,
    )


def _limited(use: Allowance, now: datetime, *, of_key: bool) -> Refused | None:
    if use.concurrent_requests is not None and use.open_holds >= use.concurrent_requests:
        return Refused(Refusal.CONCURRENT_REQUESTS, CONCURRENCY_RETRY_SECONDS, of_key)
    if use.requests_per_minute is not None:
        wait = limits.wait_seconds(use.requests_tat, now, use.requests_per_minute)
        if wait > 0:
            return Refused(Refusal.REQUESTS_PER_MINUTE, wait, of_key)
    if use.tokens_per_minute is not None:
        wait = limits.wait_seconds(use.tokens_tat, now, use.tokens_per_minute)
        if wait > 0:
            return Refused(Refusal.TOKENS_PER_MINUTE, wait, of_key)
    return None


def _available(account: Standing, key: Allowance | None, allowance: int | None) -> tuple[int, Refusal]:
    """Nano-dollars that may be held now, and what is wanting if they do not do."""
    use = account.use
    available = account.balance - use.held
    if account.credit_limit is not None:
        available += max(0, account.credit_limit - account.owed)
    if allowance is not None:
        available = min(available, allowance - use.held)
    want = Refusal.INSUFFICIENT_CREDIT
    if use.budget is not None and use.budget - use.month_spent - use.held < available:
        available, want = use.budget - use.month_spent - use.held, Refusal.BUDGET_SPENT
    if key is not None and key.budget is not None and key.budget - key.month_spent - key.held < available:
        available, want = key.budget - key.month_spent - key.held, Refusal.KEY_BUDGET_SPENT
    return available, want


def _could_pay_any(rate: Rate, available: int, request: Request) -> bool:
    """Whether the shortest prompt imaginable and one token for each sequence would fit."""
    least = affordable_completion(rate, available, 1, request.sequences, request.images, request.audio_seconds)
    return available > 0 and (least is None or least >= min(1, request.completion_limit))


def _with_hold(use: Allowance, hold: int, now: datetime) -> Allowance:
    tat = use.requests_tat
    if use.requests_per_minute is not None:
        tat = limits.spent(tat, now, use.requests_per_minute)
    return replace(use, held=use.held + hold, open_holds=use.open_holds + 1, requests_tat=tat)


def _with_limits(decision: Decision, use: Allowance, key: Allowance, now: datetime) -> Decision:
    if not (use.requests_per_minute or use.tokens_per_minute or key.requests_per_minute or key.tokens_per_minute):
        return decision
    both = (use, key)
    found = RateLimits(
        _tightest([(one.requests_per_minute, one.requests_tat) for one in both], now),
        _tightest([(one.tokens_per_minute, one.tokens_tat) for one in both], now),
    )
    return replace(decision, limits=found)


def _tightest(found: Sequence[tuple[int | None, datetime | None]], now: datetime) -> Meterstick | None:
    sticks = [
        Meterstick(limit, limits.remaining(tat, now, limit), limits.reset_seconds(tat, now))
        for limit, tat in found
        if limit is not None
    ]
    return min(sticks, key=lambda stick: stick.remaining, default=None)


class Admission:
    """Decides requests in batches. ``admit`` raises DatabaseUnavailable, and QueueFull beyond its limit."""

    def __init__(self, store: Store, clock: Clock, *, observe_batch: Callable[[int], None] | None = None) -> None:
        self._store = store
        self._clock = clock
        self._batcher = Batcher[Request, Decision](self.admit_all, observe=observe_batch)

    async def admit(self, request: Request) -> Decision:
        return await self._batcher.submit(request)

    async def admit_all(self, requests: Sequence[Request]) -> list[Decision]:
        """One transaction."""
        async with self._store.begin() as transaction:
            now = self._clock()
            asking = [(request.key_digest, request.model) for request in requests]
            asked, locked = await transaction.lock_askers(asking, now)
            changes = Changes(now)
            accounts = await sweep_due(transaction, locked, changes)
            limited = {one.key_id for one in asked if one and accounts[one.account_id].limited_keys}
            keys = await transaction.keys(limited) if limited else {}
            allowances = await _allowances(transaction, accounts, now)
            decisions, accounts, keys_after = decide(requests, asked, accounts, keys, allowances, now)
            changes.holds = [_as_hold(decision) for decision in decisions if isinstance(decision, Admitted)]
            changes.accounts = [account for account in accounts.values() if account is not locked[account.id]]
            changes.keys = {id_: key for id_, key in keys_after.items() if key is not keys[id_]}
            changes.notices = _notices(decisions, asked, accounts, keys_after)
            if changes:
                await transaction.write(changes)
        return decisions


async def _allowances(transaction: Transaction, accounts: Mapping[int, Standing], now: datetime) -> dict[int, int]:
    """What is left of their plans' allowances, for the accounts that may spend nothing else."""
    bound = [id_ for id_, one in accounts.items() if one.stops_until is not None and now < one.stops_until]
    if not bound:
        return {}
    left = dict.fromkeys(bound, 0)
    for lot in await transaction.lots(bound):
        if lot.source is Source.ALLOWANCE and lot.ends_at > now:
            left[lot.account_id] += lot.remaining
    return left


def _as_hold(admitted: Admitted) -> NewHold:
    return NewHold(
        admitted.request.id,
        admitted.account_id,
        admitted.key_id,
        admitted.rate.id,
        admitted.request.model,
        admitted.request.endpoint,
        admitted.hold,
    )


def _notices(
    decisions: Iterable[Decision],
    asked: Iterable[Asked | None],
    accounts: Mapping[int, Standing],
    keys: Mapping[int, Allowance],
) -> list[Notice]:
    """A budget that refuses is used up, even where a little of it is left."""
    notices = []
    for decision, caller in zip(decisions, asked, strict=True):
        if isinstance(decision, Refused) and caller is not None:
            if decision.reason is Refusal.BUDGET_SPENT:
                notices.append(budget_notice(caller.account_id, None, accounts[caller.account_id].use, 100))
            elif decision.reason is Refusal.KEY_BUDGET_SPENT:
                notices.append(budget_notice(caller.account_id, caller.key_id, keys[caller.key_id], 100))
    return notices


def budget_notice(account_id: int, key_id: int | None, use: Allowance, percent: int) -> Notice:
    month = f"{use.month // 12}-{use.month % 12 + 1:02d}"
    whose = "account" if key_id is None else f"key {key_id}"
    body: dict[str, object] = {
        "month": month, "key_id": key_id, "percent": percent, "budget_nanodollars": use.budget,
        "spent_nanodollars": use.month_spent,
    }  # fmt: skip
    return Notice("budget", account_id, f"{month} {whose} {percent}%", body)
