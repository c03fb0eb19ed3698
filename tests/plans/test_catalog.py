"""What configs/plans.yaml may say, and how it is told what it may not."""

from pathlib import Path
from typing import Any

import pytest

from appliance.settings import SettingsError, load_settings
from billing.plans.catalog import PlansError, parse_plans

ENTRY: dict[str, Any] = {
    "id": "pro", "name": {"en": "Pro", "nb": "Proff"}, "price": "20", "allowance": "24.5", "when_used_up": "stop",
    "limits": {"requests_per_minute": 10}, "models": ["b", "a"], "priority": 3,
}  # fmt: skip
MODELS = ("a", "b", "c")


def test_a_plan_is_read_in_cents_and_nanodollars() -> None:
    (plan,) = parse_plans({"plans": [ENTRY]}, MODELS)
    assert (plan.cents, plan.allowance, plan.name("nb"), plan.name("de")) == (2000, 24_500_000_000, "Proff", "Pro")
    assert (plan.terms.stops, plan.terms.models, plan.terms.requests_per_minute) == (True, ("a", "b"), 10)
    assert plan.terms.tokens_per_minute is None, "what is left out stays what the account has"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"currency": "nok"}, "plan pro: currency: .*usd is expected, not 'nok'"),
        ({"price": "19.999"}, "plan pro: price: whole cents are expected, not '19.999'"),
        ({"price": "0"}, "plan pro: price: an amount above 0"),
        ({"price": "much"}, "plan pro: price: 'much' is not an amount"),
        ({"allowance": "-1"}, "plan pro: allowance: an amount above 0"),
        ({"models": ["a", "gpt"]}, "plan pro: models: there is no model gpt in models.yaml"),
        ({"models": []}, "plan pro: models: "),
        ({"when_used_up": "wait"}, "plan pro: .*when_used_up"),
        ({"limits": {"requests_per_day": 1}}, "plan pro: .*requests_per_day"),
        ({"limits": {"requests_per_minute": 0}}, "plan pro: .*requests_per_minute"),
        ({"colour": "blue"}, "plan pro: .*colour"),
        ({"name": {"nb": "Proff"}}, "plan pro: name: one in English"),
        ({"id": "Pro plan"}, "plan Pro plan: .*id"),
    ],
)
def test_what_cannot_be_sold_is_refused_by_plan_and_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(PlansError, match=told):
        parse_plans({"plans": [ENTRY | change]}, MODELS)


@pytest.mark.parametrize(
    "other", [{"name": "Other"}, {"id": "other"}, {"id": "other", "name": {"en": "Two", "nb": "Proff"}}]
)
def test_two_plans_of_one_name_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(PlansError, match="two plans have it"):
        parse_plans({"plans": [ENTRY, ENTRY | other]}, MODELS)


def test_the_file_is_chosen_by_the_environment_and_checked_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text('plans: [{id: a, name: A, price: "1", allowance: "1", when_used_up: stop, models: [gone]}]')
    with pytest.raises(SettingsError, match=r"mine\.yaml: plan a: models: there is no model gone"):
        load_settings({"APPLIANCE_PLANS": str(file)})
    file.write_text("plans: []")
    assert load_settings({"APPLIANCE_PLANS": str(file)}).plans == ()
    assert [plan.id for plan in load_settings({}).plans] == ["starter", "team", "fixed"]
