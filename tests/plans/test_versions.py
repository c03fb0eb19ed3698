"""A plan has a new version when it gives or costs something else, and at no other time."""

from typing import Any

from msgspec.structs import replace

from billing.plans.versions import newest_versions, publish, version_of
from tests.billing.conftest import Bank, bank
from tests.payments.on_a_plan import DOLLAR, LARGE, SMALL

__all__ = ["bank"]


async def test_only_what_a_customer_gets_or_pays_makes_a_version(bank: Bank) -> None:
    async with bank.database.begin() as connection:
        first, _ = await publish(connection, [SMALL, LARGE], bank.clock)
        renamed = replace(SMALL, names={"en": "Tiny"}, descriptions={"en": "As small as it gets."})
        assert await publish(connection, [renamed, LARGE], bank.clock) == []
        changes: list[dict[str, Any]] = [
            {"cents": 1100},
            {"allowance": DOLLAR},
            {"terms": replace(SMALL.terms, priority=9)},
        ]
        for change in changes:
            (made,) = await publish(connection, [replace(SMALL, **change), LARGE], bank.clock)
            assert (await newest_versions(connection))["small"] == made
        assert (await version_of(connection, first.id)).cents == 1000, "who has it, keeps it"
        assert sorted(await newest_versions(connection)) == ["large", "small"]


async def test_a_version_says_all_that_its_plan_said(bank: Bank) -> None:
    plan = replace(SMALL, terms=replace(SMALL.terms, models=("a", "b"), stops=True))
    async with bank.database.begin() as connection:
        (made,) = await publish(connection, [plan], bank.clock)
        kept = await version_of(connection, made.id)
    assert (kept.terms, kept.names, kept.allowance) == (plan.terms, plan.names, plan.allowance)
