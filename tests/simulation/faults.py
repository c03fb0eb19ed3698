"""Ten planted faults, each as someone could make it, and the seed of a world that catches it."""

import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from msgspec.structs import replace

from billing.prices.pricing import cost
from billing.store.port import Source


@dataclass(frozen=True)
class Fault:
    """``where`` is a dotted name; ``wrong`` takes its place, made of the right one."""

    name: str
    where: str
    wrong: Callable[[Any], Any]
    seed: int


def _by_id(_: Any) -> Any:
    return lambda found: sorted(found, key=lambda lot: (lot.source is not Source.ALLOWANCE, lot.id))


def _allowance_last(_: Any) -> Any:
    return lambda found: sorted(found, key=lambda lot: (lot.acquired_at, lot.id))


def _ends_late(right: Any) -> Any:
    return lambda account, now: account.sweep_at is not None and account.sweep_at < now and right(account, now)


def _no_claims(_: Any) -> Any:
    return lambda found, holds, now: {}


def _hold_stays(right: Any) -> Any:
    def used(self: Any, use: Any, metered: Any, hold: Any, amount: int) -> Any:
        return replace(right(self, use, metered, hold, amount), held=use.held - amount)

    return used


def _rounded_for_each_kind(_: Any) -> Any:
    def each(rate: Any, tokens: Any) -> int:
        parts = (
            replace(tokens, cached=0, prompt=tokens.prompt - tokens.cached, completion=0),
            replace(tokens, prompt=tokens.cached, completion=0),
            replace(tokens, prompt=0, cached=0),
        )
        return sum(cost(rate, part) for part in parts)

    return each


def _charged_again(_: Any) -> Any:
    async def resolved(self: Any, request_ids: Any) -> dict[Any, int]:
        return {id_: self.tables["usage"][id_] + 1 for id_ in request_ids if id_ in self.tables["usage"]}

    return resolved


def _budget_without_holds(right: Any) -> Any:
    def available(account: Any, key: Any, allowance: Any) -> Any:
        use = account.use
        if use.budget is not None:
            account = replace(account, use=replace(use, budget=use.budget + use.held))
        return right(account, key, allowance)

    return available


def _month_goes_on(_: Any) -> Any:
    return lambda use, month: use if month <= use.month else replace(use, month=month)


def _owed_forgotten(right: Any) -> Any:
    return lambda account, key, allowance: right(replace(account, owed=0), key, allowance)


FAULTS = (
    Fault("first in, first out by id instead of date", "billing.ledger.lots.in_order", _by_id, 0),
    Fault("an allowance is not used first", "billing.ledger.lots.in_order", _allowance_last, 1),
    Fault("expiry a moment late", "billing.ledger.sweep.is_due", _ends_late, 1),
    Fault("claims of running requests are ignored at an end", "billing.ledger.lots.claims", _no_claims, 1),
    Fault("the hold is not released, only its cost", "billing.charging.settlement.Books._used", _hold_stays, 0),
    Fault(
        "each kind of token is rounded by itself", "billing.charging.settlement.cost", _rounded_for_each_kind, 0
    ),
    Fault(
        "a repeated settlement adds up", "tests.simulation.memory.MemoryTransaction.resolved", _charged_again, 0
    ),
    Fault("a budget forgets what is held", "billing.charging.admission._available", _budget_without_holds, 50),
    Fault("a month's spending goes on in the next", "billing.charging.limits.in_month", _month_goes_on, 0),
    Fault("a credit limit forgets what is owed", "billing.charging.admission._available", _owed_forgotten, 6),
)


def planted(fault: Fault) -> AbstractContextManager[object]:
    """A context in which the fault is in the code."""
    return mock.patch(fault.where, fault.wrong(pkgutil.resolve_name(fault.where)))
