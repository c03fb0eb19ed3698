"""What a plan was when it could be subscribed to. Append-only: whoever subscribed to a version renews at it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import sales
from billing.database.db import execute
from billing.errors import NotFound
from billing.plans.catalog import Plan, in_language
from billing.plans.entitlements import Terms


class Version(msgspec.Struct, frozen=True):
    """``cents`` as advertised and ``allowance`` in nano-dollars are of a month; ``names`` are by language."""

    id: int
    plan: str
    cents: int
    allowance: int
    names: Mapping[str, str]
    terms: Terms
    since: datetime

    def name(self, language: str) -> str:
        return in_language(self.names, language)


_COLUMNS = [
    sales.plan_version.c[name] for name in ("id", "plan", "cents", "allowance_nanodollars", "terms", "since")
]


async def publish(connection: AsyncConnection, plans: Sequence[Plan], clock: Clock) -> list[Version]:
    """At the start: a version of each plan that is new, or gives or costs something else than before.

    Returns those that it made.
    """
    await execute(connection, "LOCK TABLE plan_version IN SHARE ROW EXCLUSIVE MODE")
    newest = await newest_versions(connection)
    made = []
    for plan in plans:
        before = newest.get(plan.id)
        if before is None or (before.cents, before.allowance, before.terms) != (
            plan.cents,
            plan.allowance,
            plan.terms,
        ):
            made.append(await _insert(connection, plan, clock()))
    return made


async def newest_versions(connection: AsyncConnection) -> dict[str, Version]:
    """By plan, those that are offered no longer too."""
    newest = select(func.max(sales.plan_version.c.id)).group_by(sales.plan_version.c.plan)
    rows = await connection.execute(select(*_COLUMNS).where(sales.plan_version.c.id.in_(newest)))
    return {version.plan: version for version in map(_version, rows)}


async def version_of(connection: AsyncConnection, id_: int) -> Version:
    """Raises NotFound."""
    row = (await connection.execute(select(*_COLUMNS).where(sales.plan_version.c.id == id_))).one_or_none()
    if row is None:
        raise NotFound(f"there is no version {id_} of a plan")
    return _version(row)


async def _insert(connection: AsyncConnection, plan: Plan, now: datetime) -> Version:
    row = {
        "plan": plan.id,
        "cents": plan.cents,
        "allowance_nanodollars": plan.allowance,
        "terms": {"names": dict(plan.names)} | msgspec.to_builtins(plan.terms),
        "since": now,
    }
    return _version((await connection.execute(insert(sales.plan_version).values(row).returning(*_COLUMNS))).one())


def _version(row: Sequence[Any]) -> Version:
    id_, plan, cents, allowance, terms, since = row
    return Version(id_, plan, cents, allowance, terms["names"], msgspec.convert(terms, Terms), since)
