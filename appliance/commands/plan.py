"""``appliance plan``: what can be subscribed to."""

from collections import Counter
from typing import Any

import typer
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson
from appliance.commands.session import print_json, print_table, settings, transact
from billing.database import sales
from billing.payments.subscribed import RUNNING
from billing.plans.versions import newest_versions
from billing.prices.money import CENTS_PER_DOLLAR, decimal, format_dollars

app = typer.Typer(help="Look at the plans.", no_args_is_help=True)

COLUMNS = {
    "plan": "PLAN", "version": "VERSION", "since": "SINCE", "price": "A MONTH", "allowance": "ALLOWANCE",
    "when_used_up": "THEN", "models": "MODELS", "on_offer": "ON OFFER", "subscribers": "HAVE IT",
}  # fmt: skip


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """The newest version of each plan, and how many accounts have the plan in any version."""
    offered = {plan.id for plan in settings().plans}
    documents = transact(lambda connection: _plans(connection, offered))
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)


async def _plans(connection: AsyncConnection, offered: set[str]) -> list[dict[str, Any]]:
    version, subscription = sales.plan_version.c, sales.subscription.c
    query = (
        select(version.plan, func.count())
        .join_from(sales.subscription, sales.plan_version, version.id == subscription.version_id)
        .where(subscription.state.in_(RUNNING))
        .group_by(version.plan)
    )
    having = Counter({row[0]: row[1] for row in await connection.execute(query)})
    return [
        {
            "plan": one.plan,
            "version": one.id,
            "since": one.since.isoformat(),
            "price": f"${decimal(one.cents, CENTS_PER_DOLLAR)}",
            "allowance": format_dollars(one.allowance),
            "when_used_up": "stop" if one.terms.stops else "credits",
            "models": "all" if one.terms.models is None else ", ".join(one.terms.models),
            "on_offer": one.plan in offered,
            "subscribers": having[one.plan],
        }
        for one in sorted((await newest_versions(connection)).values(), key=lambda one: one.cents)
    ]
