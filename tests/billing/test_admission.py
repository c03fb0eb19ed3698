"""The decision is a pure function: these tests attack it with random accounts and requests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from billing.charging.admission import Admitted, Decision, Meterstick, Refusal, Refused, Request, decide
from billing.charging.limits import crossed, month_of, spent, wait_seconds
from billing.prices.pricing import Rate
from billing.store.port import Allowance, Asked, Standing

NOW = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
KEY = b"k" * 32
RATE = Rate(1, 100_000, 20_000, 400_000)
ASKED = Asked(key_id=5, account_id=7, revoked=False, rate=RATE)

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


def standing(balance: int, use: Allowance | None = None, **changes: object) -> Standing:
    values: dict[str, object] = {
        "id": 7, "status": "active", "balance": balance, "owed": 0, "credit_limit": None, "use": use or Allowance()
    }  # fmt: skip
    return Standing(**values | changes)  # type: ignore[arg-type]


def decide_all(
    asked: Sequence[Request],
    account: Standing,
    key: Allowance | None = None,
    *,
    now: datetime = NOW,
    allowance: int | None = None,
) -> tuple[list[Decision], Standing]:
    keys = {} if key is None else {5: key}
    allowances = {} if allowance is None else {7: allowance}
    decisions, after, _ = decide(asked, [ASKED] * len(asked), {7: account}, keys, allowances, now)
    return decisions, after[7]


def decide_one(asked: Request, account: Standing, key: Allowance | None = None, **more: int) -> Decision:
    return decide_all([asked], account, key, **more)[0][0]  # type: ignore[arg-type]


def reason(decision: Decision) -> Refusal | None:
    return decision.reason if isinstance(decision, Refused) else None


@given(st.lists(requests, max_size=30), st.integers(0, 10**9))
def test_no_overdraft_however_many_ask_at_once(asked: list[Request], balance: int) -> None:
    decisions, after = decide_all(asked, standing(balance))
    holds = [decision.hold for decision in decisions if isinstance(decision, Admitted)]
    assert sum(holds) <= balance == after.balance
    assert (after.use.held, after.use.open_holds) == (sum(holds), len(holds))


@given(st.lists(requests, max_size=30), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_postpaid_account_may_owe_its_credit_limit_and_no_more(
    asked: list[Request], balance: int, owed: int, credit_limit: int
) -> None:
    _, after = decide_all(asked, standing(balance, owed=owed, credit_limit=credit_limit))
    assert after.use.held <= balance + max(0, credit_limit - owed)


@given(st.lists(requests, max_size=30), st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_budget_is_hard(asked: list[Request], budget: int, already: int, key_budget: int) -> None:
    use = Allowance(budget=budget, month=month_of(NOW), month_spent=min(already, budget))
    _, after = decide_all(asked, standing(10**12, use), Allowance(budget=key_budget))
    assert after.use.month_spent + after.use.held <= budget
    assert after.use.held <= key_budget


@given(requests, st.integers(0, 10**9))
def test_an_answer_is_shortened_to_what_the_account_can_pay_but_never_lengthened(
    asked: Request, balance: int
) -> None:
    decision = decide_one(asked, standing(balance))
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
    decisions, after = decide_all([request(), request()], standing(10**9, Allowance(requests_per_minute=1)))
    admitted, refused = decisions
    assert isinstance(admitted, Admitted)
    assert admitted.limits.requests == Meterstick(1, remaining=0, reset_seconds=60.0)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after_seconds) == (Refusal.REQUESTS_PER_MINUTE, 60.0)
    later = NOW + timedelta(seconds=60)
    assert isinstance(decide_all([request()], after, now=later)[0][0], Admitted)


def test_of_an_accounts_and_a_keys_limits_the_tighter_one_is_told() -> None:
    account = standing(10**9, Allowance(requests_per_minute=10, tokens_per_minute=500))
    admitted = decide_one(request(), account, Allowance(requests_per_minute=5))
    assert isinstance(admitted, Admitted)
    assert admitted.limits.requests == Meterstick(5, remaining=4, reset_seconds=12.0)
    assert admitted.limits.tokens == Meterstick(500, remaining=500, reset_seconds=0.0)


def test_refusals_name_the_first_thing_that_is_wrong() -> None:
    rich, poor = standing(10**9), standing(0)
    unknown, _, _ = decide([request(), request()], [None, replace(ASKED, revoked=True)], {7: rich}, {}, {}, NOW)
    assert [reason(one) for one in unknown] == [Refusal.INVALID_KEY] * 2
    no_rate, _, _ = decide([request()], [replace(ASKED, rate=None)], {7: rich}, {}, {}, NOW)
    assert reason(no_rate[0]) is Refusal.UNKNOWN_MODEL
    for status, refusal in (
        ("suspended", Refusal.ACCOUNT_SUSPENDED),
        ("terminated", Refusal.ACCOUNT_TERMINATED),
        ("deleting", Refusal.ACCOUNT_DELETING),
    ):
        assert reason(decide_one(request(), standing(10**9, status=status))) is refusal
    assert reason(decide_one(request(), poor)) is Refusal.INSUFFICIENT_CREDIT
    busy = Allowance(open_holds=3, concurrent_requests=3)
    assert decide_one(request(), standing(10**9, busy)) == Refused(Refusal.CONCURRENT_REQUESTS, 1.0)
    assert decide_one(request(), rich, busy) == Refused(Refusal.CONCURRENT_REQUESTS, 1.0, of_key=True)
    spent_up = Allowance(budget=10**6, month=month_of(NOW), month_spent=10**6)
    assert reason(decide_one(request(counted=True), standing(10**9, spent_up))) is Refusal.BUDGET_SPENT
    assert reason(decide_one(request(counted=True), rich, spent_up)) is Refusal.KEY_BUDGET_SPENT
    assert isinstance(
        decide_all([request()], standing(10**9, spent_up), now=NOW + timedelta(days=1))[0][0], Admitted
    )


def test_a_plan_that_stops_spends_no_credit() -> None:
    assert reason(decide_one(request(counted=True), standing(10**9), allowance=0)) is Refusal.INSUFFICIENT_CREDIT
    assert isinstance(decide_one(request(), standing(10**9), allowance=10**6), Admitted)


def test_notice_is_given_once_when_spending_reaches_half_four_fifths_and_all_of_a_budget() -> None:
    steps = [crossed(100, before, after) for before, after in ((0, 49), (49, 50), (50, 99), (99, 100), (100, 100))]
    assert steps == [[], [50], [80], [100], []]


def test_the_exact_count_is_asked_for_only_when_the_bound_does_not_fit() -> None:
    enough_for_30_tokens_in_and_1_out = standing(30 * 100 + 400)
    loose = request(prompt_limit=1000, completion_limit=1)
    assert decide_one(loose, enough_for_30_tokens_in_and_1_out) == Refused(Refusal.COUNT_NEEDED)
    counted = request(prompt_limit=30, completion_limit=1, counted=True)
    assert isinstance(decide_one(counted, enough_for_30_tokens_in_and_1_out), Admitted)
    assert decide_one(request(prompt_limit=31, counted=True), enough_for_30_tokens_in_and_1_out) == Refused(
        Refusal.INSUFFICIENT_CREDIT
    )
