"""``appliance subscription``: an account's plan."""

from collections.abc import Awaitable, Callable
from typing import Any

import typer

from appliance.commands.account import AccountArgument, AsJson, Reason, resolve
from appliance.commands.session import actor, print_json, transact
from billing.payments.subscribed import Subscription, subscriptions_of
from billing.payments.subscriptions.service import Subscriptions
from billing.plans.catalog import FIRST_LANGUAGE

app = typer.Typer(help="Look at an account's plan, cancel it, end it.", no_args_is_help=True)


@app.command()
def show(account: AccountArgument, as_json: AsJson = False) -> None:
    """All plans that the account ordered, the newest first."""
    owner = transact(lambda connection: resolve(connection, account))
    found = transact(lambda connection: subscriptions_of(connection, owner.id))
    documents = [_describe(one) for one in found]
    if as_json:
        print_json(documents)
        return
    if not documents:
        typer.echo(f"account {owner.id} never ordered a plan")
    for document in documents:
        for field, value in document.items():
            typer.echo(f"{field:22} {'-' if value is None else value}")
        typer.echo("")


@app.command()
def cancel(account: AccountArgument) -> None:
    """Cancel the account's plan: it ends with the period that is paid for."""
    owner = transact(lambda connection: resolve(connection, account))
    after = _act(lambda plans: plans.cancel(owner.id, actor()))
    typer.echo(f"the plan {after.version.plan} of account {owner.id} ends on {after.period_end}")


@app.command()
def end(account: AccountArgument, reason: Reason) -> None:
    """End the account's plan now. What is left of its allowance is forfeited; nothing is paid back by this."""
    owner = transact(lambda connection: resolve(connection, account))
    after = _act(lambda plans: plans.end_now(owner.id, actor(), reason))
    typer.echo(f"the plan {after.version.plan} of account {owner.id} is {after.state}")


def _describe(one: Subscription) -> dict[str, Any]:
    times = ("created_at", "period_start", "period_end", "grace_until", "ended_at")
    return {
        "id": str(one.id),
        "plan": one.version.plan,
        "name": one.version.name(FIRST_LANGUAGE),
        "version": one.version.id,
        "next_version": None if one.next_version is None else one.next_version.id,
        "state": one.state,
        "cancels": one.cancels,
        "stripe_id": one.stripe_id,
        **{name: None if (at := getattr(one, name)) is None else at.isoformat() for name in times},
        "end_reason": one.end_reason,
    }


def _act(work: Callable[[Subscriptions], Awaitable[Subscription]]) -> Subscription:
    """Stripe's library takes a while to load."""
    from appliance.commands.paying import at_the_till

    return at_the_till(lambda till: work(till.subscriptions))
