"""``appliance reconcile``: a day's meters, charges and transfers side by side, and the whole books."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from appliance.commands.account import AsJson
from appliance.commands.session import as_document, fail, print_json, print_table, settings_of_first_node
from appliance.worker.reconciling import describe, read_meters
from billing.clock import system_clock
from billing.database.db import Database
from billing.errors import BillingError
from billing.prices.money import format_dollars
from billing.proof import rules as ledger
from billing.proof.reconciliation import Difference, Group, Reconciliation
from billing.proof.reconciliation import reconcile as compare
from billing.proof.rules import Discrepancy

COLUMNS = {
    "model": "MODEL", "account_id": "ACCOUNT", "requests": "REQUESTS", "open": "OPEN",
    "waived": "WAIVED", "metered_tokens": "METERED", "charged_tokens": "CHARGED", "charged": "CHARGED $",
    "moved": "MOVED $", "differences": "DIFFERENCES",
}  # fmt: skip


def reconcile(
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of UTC; yesterday otherwise.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare engines' meters, usage, transfers and balances; exit status 0 only if all agree. Repairs nothing."""
    chosen = day.date() if day else system_clock().date() - timedelta(days=1)
    try:
        found, discrepancies = asyncio.run(_look(chosen))
    except BillingError as error:
        raise fail(str(error)) from None
    if as_json:
        print_json(_document(found, discrepancies))
    else:
        _print(found, discrepancies)
    if found.count or discrepancies:
        raise typer.Exit(1)


async def _look(day: date) -> tuple[Reconciliation, list[Discrepancy]]:
    first = settings_of_first_node()  # it has all journals
    database = Database(first.sqlalchemy_url, application_name="appliance-cli", pool_size=1)
    try:
        found = await compare(database, day, read_meters(first.meters, day), system_clock)
        async with database.snapshot() as connection:
            return found, await ledger.verify(connection)
    finally:
        await database.close()


def _document(found: Reconciliation, discrepancies: list[Discrepancy]) -> dict[str, Any]:
    return {
        "day": found.day.isoformat(),
        "agrees": not found.count and not discrepancies,
        "groups": [as_document(group) for group in found.groups],
        "differences": [_as_document(difference) for difference in found.differences],
        "discrepancies": [as_document(row) for row in discrepancies],
    }


def _as_document(difference: Difference) -> dict[str, Any]:
    used = {"metered": difference.metered, "charged": difference.charged}
    return as_document(difference) | {side: msgspec.to_builtins(tokens) for side, tokens in used.items()}


def _print(found: Reconciliation, discrepancies: list[Discrepancy]) -> None:
    print_table(COLUMNS, [_row(group) for group in found.groups])
    for difference in found.differences:
        typer.echo(describe(difference))
    for row in discrepancies:
        typer.echo(f"{row.rule}: {row.subject} should be {row.expected}, is {row.found}")
    if not found.count:
        requests = sum(group.requests for group in found.groups)
        typer.echo(f"{found.day}: meters, usage and transfers of {requests} requests agree.")
    if not discrepancies:
        typer.echo(f"The books balance: {len(ledger.RULES)} rules hold.")


def _row(group: Group) -> dict[str, Any]:
    return as_document(group) | {
        "charged": format_dollars(group.charged_nanodollars),
        "moved": format_dollars(group.moved_nanodollars),
    }
