"""What comes back after a plan, and what stays: whatever plans came in between, and whoever set something."""

from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from billing.plans.entitlements import NO_PLAN, Entitled, Terms, moved, on

LIMIT = some.none() | some.integers(1, 4)
MODELS = some.none() | some.sampled_from([("a",), ("a", "b")])
ENTITLED = some.builds(
    Entitled,
    requests_per_minute=LIMIT,
    tokens_per_minute=LIMIT,
    concurrent_requests=LIMIT,
    priority=some.integers(0, 3),
    models=MODELS,
)
TERMS = some.builds(
    Terms,
    requests_per_minute=LIMIT,
    tokens_per_minute=LIMIT,
    concurrent_requests=LIMIT,
    priority=some.none() | some.integers(0, 3),
    models=MODELS,
)


@given(ENTITLED, some.lists(TERMS))
def test_after_any_plans_the_account_has_what_it_had(before: Entitled, plans: list[Terms]) -> None:
    now, old = before, NO_PLAN
    for terms in plans:
        now, old = moved(now, before, old, terms), terms
        assert now == on(terms, before)
    assert moved(now, before, old, NO_PLAN) == before


@given(ENTITLED, some.lists(TERMS, min_size=1), some.sampled_from(Entitled.__struct_fields__), some.data())
def test_what_somebody_has_set_stays_and_the_rest_comes_back(
    before: Entitled, plans: list[Terms], field: str, data: some.DataObject
) -> None:
    """What is set is none of the values that a plan, or the account before, had."""
    given_value = {"priority": 99, "models": ("set",)}.get(field, 1000)
    at = data.draw(some.integers(0, len(plans) - 1))
    now, old = before, NO_PLAN
    for place, terms in enumerate(plans):
        now, old = moved(now, before, old, terms), terms
        if place == at:
            now = replace(now, **{field: given_value})
    assert moved(now, before, old, NO_PLAN) == replace(before, **{field: given_value})
