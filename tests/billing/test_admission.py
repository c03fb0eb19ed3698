"""The decision is a pure function: these tests attack it with random accounts and requests."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from billing.admission import Admitted, Credential, Refusal, Refused, Request, Standing, decide
from billing.limits import spent, wait_seconds
from billing.pricing import Rate

NOW = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
KEY = b"k" * 32
CREDENTIALS = {KEY: Credential(key_id=5, account_id=7, revoked=False)}
RATES = {"m": Rate(1, 100_000, 20_000, 400_000)}

requests = st.builds(
    Request,
    id=st.uuids(),
    key_digest=st.just(KEY),
    model=st.just("m"),
    endpoint=st.just("/v1/completions"),
    prompt_limit=st.integers(0, 10_000),
    completion_limit=st.integers(0, 10_000),
    sequences=st.integers(1, 8),
    counted=st.booleans(),
)


def request(**changes: object) -> Request:
    values: dict[str, object] = {
        "id": UUID(int=1), "key_digest": KEY, "model": "m", "endpoint": "/v1/completions",
        "prompt_limit": 10, "completion_limit": 10,
    }  # fmt: skip
    return Request(**values | changes)  # type: ignore[arg-type]


def decide_one(asked: Request, standing: Standing) -> Admitted | Refused:
    return decide([asked], CREDENTIALS, {7: standing}, RATES, NOW)[0][0]


@given(st.lists(requests, max_size=30), st.integers(0, 10**9))
def test_no_overdraft_however_many_ask_at_once(asked: list[Request], available: int) -> None:
    decisions, after = decide(asked, CREDENTIALS, {7: Standing(7, "active", available, 0)}, RATES, NOW)
    holds = [decision.hold for decision in decisions if isinstance(decision, Admitted)]
    assert sum(holds) <= available
    assert after[7].available == available - sum(holds)
    assert after[7].open_holds == len(holds)


@given(requests, st.integers(0, 10**9))
def test_an_answer_is_shortened_to_what_the_account_can_pay_but_never_lengthened(
    asked: Request, available: int
) -> None:
    decision = decide_one(asked, Standing(7, "active", available, 0))
    if isinstance(decision, Admitted):
        assert min(1, asked.completion_limit) <= decision.completion_limit <= asked.completion_limit
        if decision.completion_limit < asked.completion_limit:
            assert asked.counted


@given(st.integers(1, 600), st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_in_any_minute_at_most_twice_the_allowance_and_in_the_first_exactly_it(
    per_minute: int, pauses: list[float]
) -> None:
    tat, now, granted = None, NOW, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        if wait_seconds(tat, now, per_minute) == 0:
            tat = spent(tat, now, per_minute)
            granted.append(now)
    for start in granted:
        assert sum(start <= moment < start + timedelta(minutes=1) for moment in granted) <= 2 * per_minute
    assert sum(moment == granted[0] for moment in granted) <= per_minute


def test_a_limited_account_is_told_when_to_come_back() -> None:
    standing = Standing(7, "active", 10**9, 0, requests_per_minute=1)
    decisions, after = decide([request(), request()], CREDENTIALS, {7: standing}, RATES, NOW)
    assert isinstance(decisions[0], Admitted)
    assert decisions[1] == Refused(Refusal.REQUESTS_PER_MINUTE, 60.0)
    later = NOW + timedelta(seconds=60)
    assert isinstance(decide([request()], CREDENTIALS, after, RATES, later)[0][0], Admitted)


def test_refusals_name_the_first_thing_that_is_wrong() -> None:
    rich, poor = Standing(7, "active", 10**9, 0), Standing(7, "active", 0, 0)
    assert decide_one(request(key_digest=b"other"), rich) == Refused(Refusal.INVALID_KEY)
    assert decide_one(request(model="gpt-9"), rich) == Refused(Refusal.UNKNOWN_MODEL)
    assert decide_one(request(), Standing(7, "suspended", 10**9, 0)) == Refused(Refusal.ACCOUNT_SUSPENDED)
    assert decide_one(request(), poor) == Refused(Refusal.INSUFFICIENT_CREDIT)
    busy = Standing(7, "active", 10**9, 3, concurrent_requests=3)
    assert decide_one(request(), busy) == Refused(Refusal.CONCURRENT_REQUESTS, 1.0)


def test_the_exact_count_is_asked_for_only_when_the_bound_does_not_fit() -> None:
    enough_for_30_tokens_in_and_1_out = Standing(7, "active", 30 * 100 + 400, 0)
    loose = request(prompt_limit=1000, completion_limit=1)
    assert decide_one(loose, enough_for_30_tokens_in_and_1_out) == Refused(Refusal.COUNT_NEEDED)
    counted = request(prompt_limit=30, completion_limit=1, counted=True)
    assert isinstance(decide_one(counted, enough_for_30_tokens_in_and_1_out), Admitted)
    assert decide_one(request(prompt_limit=31, counted=True), enough_for_30_tokens_in_and_1_out) == Refused(
        Refusal.INSUFFICIENT_CREDIT
    )
