"""Rates in versions: the one in force at admission is the one that is charged."""

from collections.abc import Mapping

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import tables
from billing.clock import Clock
from billing.pricing import Rate


async def rates_in_force(connection: AsyncConnection, clock: Clock) -> dict[str, Rate]:
    """By model."""
    table = tables.rate
    query = (
        select(table)
        .where(table.c.effective_at <= clock())
        .ext(distinct_on(table.c.model))
        .order_by(table.c.model, table.c.effective_at.desc())
    )
    return {
        row.model: Rate(row.id, row.input, row.cached_input, row.output) for row in await connection.execute(query)
    }


async def publish_rates(
    connection: AsyncConnection, declared: Mapping[str, tuple[int, int, int]], clock: Clock
) -> list[str]:
    """Makes ``declared`` (model: input, cached input, output) the rates in force; a version for each that differs.

    Micro-dollars per million tokens. Returns the models whose rate changed.
    """
    in_force = await rates_in_force(connection, clock)
    changed = [
        model
        for model, prices in declared.items()
        if (rate := in_force.get(model)) is None or (rate.input, rate.cached_input, rate.output) != prices
    ]
    now = clock()
    for model in changed:
        prices = dict(zip(("input", "cached_input", "output"), declared[model], strict=True))
        await connection.execute(
            insert(tables.rate).values(model=model, effective_at=now, announced_at=now, **prices)
        )
    return changed
