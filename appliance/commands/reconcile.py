"""``appliance reconcile``: a day's meters, charges and transfers side by side, and the whole books."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import typer

from appliance.commands.session import as_document, fail, print_json, print_table, settings_of_first_node
from appliance.secrets import SecretsError
from appliance.settings import Settings
from appliance.till import provider_of
from appliance.worker.reconciling import describe, read_meters
from appliance.worker.takings import cents as in_dollars
from appliance.worker.takings import describe as describe_taking
from billing.clock import system_clock
from billing.database.db import Database
from billing.documents.at_stripe import told
from billing.errors import BillingError
from billing.payments.provider import PaymentsRefused, PaymentsUnavailable
from billing.prices.money import format_dollars
from billing.proof import rules as ledger
from billing.proof.reconciliation import Difference, Group, Reconciliation
from billing.proof.reconciliation import reconcile as compare
from billing.proof.rules import Discrepancy
from billing.proof.takings import Group as TakingsGroup
from billing.proof.takings import Takings, compare_takings
from billing.statements.period import Period

TAKINGS = {
    "kind": "TAKINGS", "items": "ITEMS", "open": "OPEN", "stripe": "STRIPE $", "here": "HERE $",
    "ledger": "LEDGER $", "documents": "DOCUMENTS $", "differences": "DIFFERENCES",
    "moved": "ON THE BALANCE", "fees": "FEES",
}  # fmt: skip
COLUMNS = {
    "model": "MODEL", "account_id": "ACCOUNT", "requests": "REQUESTS", "open": "OPEN",
    "waived": "WAIVED", "metered_tokens": "METERED", "charged_tokens": "CHARGED", "charged": "CHARGED $",
    "moved": "MOVED $", "differences": "DIFFERENCES",
}  # fmt: skip


def reconcile(day: datetime | None, *, as_json: bool) -> None:
    """Of a day of UTC; of yesterday if none is given. Ends the command with status 1 unless all agree."""
    chosen = day.date() if day else system_clock().date() - timedelta(days=1)
    try:
        found, takings, discrepancies = asyncio.run(_look(chosen))
    except (BillingError, SecretsError) as error:
        raise fail(str(error)) from None
    if as_json:
        print_json(_document(found, takings, discrepancies))
    else:
        _print(found, discrepancies)
        _print_takings(takings)
        if not discrepancies:
            typer.echo(f"The books balance: {len(ledger.RULES)} rules hold.")
    if found.count or takings.count or discrepancies:
        raise typer.Exit(1)


async def _look(day: date) -> tuple[Reconciliation, Takings, list[Discrepancy]]:
    first = settings_of_first_node()  # it has all journals
    database = Database(first.sqlalchemy_url, application_name="appliance-cli", pool_size=1)
    try:
        found = await compare(database, day, read_meters(first.meters, day), system_clock)
        takings = await _takings(first, database, day)
        async with database.snapshot() as connection:
            return found, takings, await ledger.verify(connection)
    finally:
        await database.close()


async def _takings(settings: Settings, database: Database, day: date) -> Takings:
    """As Stripe has them now; where it cannot be asked, as they are on record."""
    provider = provider_of(settings, system_clock)
    if provider is None:
        return await compare_takings(database, day, None, system_clock)
    try:
        movements = provider.movements(Period(day, day).start)
        return await compare_takings(database, day, movements, system_clock)
    except (PaymentsUnavailable, PaymentsRefused) as error:
        typer.echo(f"Stripe cannot be asked, so what is on record of it counts: {error}", err=True)
        return await compare_takings(database, day, None, system_clock)
    finally:
        await provider.close()


def _document(found: Reconciliation, takings: Takings, discrepancies: list[Discrepancy]) -> dict[str, Any]:
    return {
        "day": found.day.isoformat(),
        "agrees": not found.count and not takings.count and not discrepancies,
        "takings": {
            "stripe_asked": takings.asked,
            "groups": [as_document(group) for group in takings.groups],
            "differences": [as_document(difference) for difference in takings.differences],
        },
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


def _print_takings(takings: Takings) -> None:
    if takings.groups:
        print_table(TAKINGS, [_taken(group) for group in takings.groups])
    for difference in takings.differences:
        typer.echo(describe_taking(difference))
    if not takings.count:
        typer.echo(f"{takings.day}: Stripe, ledger and documents of {takings.items} takings agree.")


def _taken(group: TakingsGroup) -> dict[str, Any]:
    return as_document(group) | {
        "stripe": in_dollars(group.stripe_cents),
        "moved": ", ".join(told(one.cents, one.currency) for one in group.on_balance),
        "fees": ", ".join(told(one.fee_cents, one.currency) for one in group.on_balance),
        "here": in_dollars(group.here_cents),
        "ledger": format_dollars(group.ledger_nanodollars),
        "documents": in_dollars(group.document_cents),
    }


def _row(group: Group) -> dict[str, Any]:
    return as_document(group) | {
        "charged": format_dollars(group.charged_nanodollars),
        "moved": format_dollars(group.moved_nanodollars),
    }
