"""Admission: may this request run, and how far? Decided for a batch in one transaction, nothing cached.

``decide`` is pure. ``Admission`` loads what it needs under the accounts' row locks, and writes the holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from billing import limits
from billing.batch import Batcher
from billing.clock import Clock
from billing.db import Database, execute, fetch
from billing.pricing import Rate, affordable_completion, worst_cost

CONCURRENCY_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Request:
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


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as admission sees it. ``available`` is balance minus holds, in nano-dollars."""

    account_id: int
    status: str
    available: int
    open_holds: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    requests_tat: datetime | None = None
    tokens_tat: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    key_id: int
    account_id: int
    revoked: bool


class Refusal(Enum):
    INVALID_KEY = "invalid_key"
    ACCOUNT_SUSPENDED = "account_suspended"
    UNKNOWN_MODEL = "unknown_model"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT_REQUESTS = "concurrent_requests"
    INSUFFICIENT_CREDIT = "insufficient_credit"
    COUNT_NEEDED = "count_needed"
    """The bound of the prompt does not fit the balance; its exact count may. Ask again, counted."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """``hold`` in nano-dollars is the most that will be charged; ``completion_limit`` is tokens per sequence."""

    request: Request
    account_id: int
    key_id: int
    rate: Rate
    hold: int
    completion_limit: int


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Refusal
    retry_after_seconds: float | None = None


Decision = Admitted | Refused


def decide(
    requests: Iterable[Request],
    credentials: Mapping[bytes, Credential],
    standings: Mapping[int, Standing],
    rates: Mapping[str, Rate],
    now: datetime,
) -> tuple[list[Decision], dict[int, Standing]]:
    """A decision for each request, in order, and the accounts as they stand after those admitted."""
    after = dict(standings)
    decisions: list[Decision] = []
    for request in requests:
        credential = credentials.get(request.key_digest)
        if credential is None or credential.revoked:
            decisions.append(Refused(Refusal.INVALID_KEY))
            continue
        standing = after[credential.account_id]
        decision = _decide_one(request, credential, standing, rates.get(request.model), now)
        if isinstance(decision, Admitted):
            after[standing.account_id] = _with_hold(standing, decision, now)
        decisions.append(decision)
    return decisions, after


def _decide_one(
    request: Request, credential: Credential, standing: Standing, rate: Rate | None, now: datetime
) -> Decision:
    if standing.status != "active":
        return Refused(Refusal.ACCOUNT_SUSPENDED)
    if rate is None:
        return Refused(Refusal.UNKNOWN_MODEL)
    if limited := _limited(standing, now):
        return limited
    affordable = affordable_completion(rate, standing.available, request.prompt_limit, request.sequences)
    if affordable is None or affordable >= request.completion_limit:
        completion_limit = request.completion_limit
    elif not request.counted and _could_pay_any(rate, standing.available, request):
        return Refused(Refusal.COUNT_NEEDED)
    elif affordable < 1:
        return Refused(Refusal.INSUFFICIENT_CREDIT)
    else:
        completion_limit = affordable
    return Admitted(
        request=request,
        account_id=standing.account_id,
        key_id=credential.key_id,
        rate=rate,
        hold=worst_cost(rate, request.prompt_limit, completion_limit * request.sequences),
        completion_limit=completion_limit,
    )


def _limited(standing: Standing, now: datetime) -> Refused | None:
    if standing.concurrent_requests is not None and standing.open_holds >= standing.concurrent_requests:
        return Refused(Refusal.CONCURRENT_REQUESTS, CONCURRENCY_RETRY_SECONDS)
    if standing.requests_per_minute is not None:
        wait = limits.wait_seconds(standing.requests_tat, now, standing.requests_per_minute)
        if wait > 0:
            return Refused(Refusal.REQUESTS_PER_MINUTE, wait)
    if standing.tokens_per_minute is not None:
        wait = limits.wait_seconds(standing.tokens_tat, now, standing.tokens_per_minute)
        if wait > 0:
            return Refused(Refusal.TOKENS_PER_MINUTE, wait)
    return None


def _could_pay_any(rate: Rate, available: int, request: Request) -> bool:
    """Whether the shortest prompt imaginable and one token for each sequence would fit."""
    least = affordable_completion(rate, available, 1, request.sequences)
    return available > 0 and (least is None or least >= min(1, request.completion_limit))


def _with_hold(standing: Standing, admitted: Admitted, now: datetime) -> Standing:
    tat = standing.requests_tat
    if standing.requests_per_minute is not None:
        tat = limits.spent(tat, now, standing.requests_per_minute)
    return replace(
        standing,
        available=standing.available - admitted.hold,
        open_holds=standing.open_holds + 1,
        requests_tat=tat,
    )


# Rows are locked in the order of the accounts' ids, here and in settlement: no deadlock.
_LOAD = """
SELECT r.ord, k.id AS key_id, k.revoked_at IS NOT NULL AS revoked,
       a.id AS account_id, a.status, a.balance_nanodollars - a.held_nanodollars AS available, a.open_holds,
       a.requests_per_minute, a.tokens_per_minute, a.concurrent_requests, a.requests_tat, a.tokens_tat,
       v.id AS rate_id, v.input, v.cached_input, v.output
FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS r(digest, model, ord)
JOIN api_key k ON k.digest = r.digest
JOIN account a ON a.id = k.account_id
LEFT JOIN LATERAL (
    SELECT id, input, cached_input, output FROM rate
    WHERE rate.model = r.model AND rate.effective_at <= $3
    ORDER BY rate.effective_at DESC LIMIT 1
) v ON true
ORDER BY a.id
FOR NO KEY UPDATE OF a
"""

_WRITE = """
WITH placed AS (
    INSERT INTO hold (request_id, account_id, key_id, rate_id, model, endpoint, amount_nanodollars, created_at)
    SELECT *, $8::timestamptz
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
)
UPDATE account
SET held_nanodollars = held_nanodollars + d.held, open_holds = d.open_holds, requests_tat = d.requests_tat
FROM unnest($9::bigint[], $10::bigint[], $11::int[], $12::timestamptz[]) AS d(id, held, open_holds, requests_tat)
WHERE account.id = d.id
"""


class Admission:
    """Decides requests in batches. ``admit`` raises DatabaseUnavailable, and QueueFull beyond its limit."""

    def __init__(
        self, database: Database, clock: Clock, *, observe_batch: Callable[[int], None] | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._batcher = Batcher[Request, Decision](self._process, observe=observe_batch)

    async def admit(self, request: Request) -> Decision:
        return await self._batcher.submit(request)

    async def _process(self, requests: Sequence[Request]) -> list[Decision]:
        async with self._database.begin() as connection:
            now = self._clock()
            rows = await fetch(
                connection,
                _LOAD,
                [request.key_digest for request in requests],
                [request.model for request in requests],
                now,
            )
            credentials, standings, rates = _read(requests, rows)
            decisions, after = decide(requests, credentials, standings, rates, now)
            admitted = [decision for decision in decisions if isinstance(decision, Admitted)]
            if admitted:
                await execute(connection, _WRITE, *_columns(admitted, standings, after, now))
        return decisions


def _read(
    requests: Sequence[Request], rows: Iterable[Row[Any]]
) -> tuple[dict[bytes, Credential], dict[int, Standing], dict[str, Rate]]:
    credentials: dict[bytes, Credential] = {}
    standings: dict[int, Standing] = {}
    rates: dict[str, Rate] = {}
    for row in rows:
        request = requests[row.ord - 1]
        if request.key_digest not in credentials:
            credentials[request.key_digest] = Credential(row.key_id, row.account_id, row.revoked)
        if row.account_id not in standings:
            standings[row.account_id] = Standing(
                account_id=row.account_id,
                status=row.status,
                available=row.available,
                open_holds=row.open_holds,
                requests_per_minute=row.requests_per_minute,
                tokens_per_minute=row.tokens_per_minute,
                concurrent_requests=row.concurrent_requests,
                requests_tat=row.requests_tat,
                tokens_tat=row.tokens_tat,
            )
        if row.rate_id is not None and request.model not in rates:
            rates[request.model] = Rate(row.rate_id, row.input, row.cached_input, row.output)
    return credentials, standings, rates


def _columns(
    admitted: Sequence[Admitted],
    before: Mapping[int, Standing],
    after: Mapping[int, Standing],
    now: datetime,
) -> tuple[Any, ...]:
    touched = sorted({decision.account_id for decision in admitted})
    return (
        [decision.request.id for decision in admitted],
        [decision.account_id for decision in admitted],
        [decision.key_id for decision in admitted],
        [decision.rate.id for decision in admitted],
        [decision.request.model for decision in admitted],
        [decision.request.endpoint for decision in admitted],
        [decision.hold for decision in admitted],
        now,
        touched,
        [before[account].available - after[account].available for account in touched],
        [after[account].open_holds for account in touched],
        [after[account].requests_tat for account in touched],
    )
