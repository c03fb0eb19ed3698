"""``appliance books``: what an accountant needs."""

import csv
import io
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.commands.account import AsJson
from appliance.commands.session import fail, print_json, print_table, settings, transact
from billing.books import table
from billing.books.exported import note_export
from billing.books.reading import DOLLARS, Books, read_books
from billing.books.saft import as_saft, written
from billing.clock import system_clock
from billing.documents.exchange import Rate, books_currency, enter_rate
from billing.documents.statement import as_rows, month_or_year, read_statement

app = typer.Typer(help="Statements, exchange rates, and the books for the accountant.", no_args_is_help=True)

COLUMNS = {"section": "SECTION", "line": "LINE", "figure": "FIGURE", "amount": "AMOUNT"}


@app.command()
def rate(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="For example 2026-11-27.")],
    value: Annotated[str, typer.Argument(metavar="RATE", help="What a US dollar was worth: 10.85.")],
    source: Annotated[str, typer.Option(help='Who says so: "Norges Bank".')],
) -> None:
    """Enter the exchange rate of a day by hand, where it cannot be fetched. It cannot be changed afterwards."""
    currency = books_currency(settings().seller.country)
    if currency is None:
        raise fail("the books of a seller in this country are in US dollars: there is nothing to exchange")
    try:
        entered = Rate(day.date(), Decimal(value))
    except InvalidOperation:
        raise fail(f"{value!r} is no number") from None
    transact(lambda connection: enter_rate(connection, currency, entered, source, system_clock()))
    typer.echo(f"{entered.day}: one US dollar is {entered.value} {currency} ({source})")


@app.command()
def statement(
    period: Annotated[str, typer.Argument(help="A month, 2026-11, or a year, 2026 (UTC).")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet.")] = False,
) -> None:
    """Sales, credit, what is owed, fees and payouts, and whether they add up."""
    try:
        wanted = month_or_year(period)
    except ValueError as error:
        raise fail(str(error)) from None
    read = transact(lambda connection: read_statement(connection, wanted), snapshot=True)
    rows = [_plain(row) for row in as_rows(read)]
    if as_json:
        print_json({"period": period, "adds_up": read.adds_up, "figures": rows})
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_table(COLUMNS, rows)
    if not read.adds_up:
        raise fail("this does not add up: see `appliance ledger verify`")


def _plain(row: Mapping[str, object]) -> Mapping[str, Any]:
    amount = row["amount"]
    return {**row, "amount": f"{amount:f}" if isinstance(amount, Decimal) else amount}


@app.command()
def export(
    year: Annotated[int, typer.Argument(help="A calendar year: 2026.")],
    file: Annotated[Path, typer.Argument(help="It is there whole or not at all, for its owner alone to read.")],
    saft: Annotated[bool, typer.Option("--saft", help="SAF-T Financial 1.30, the format of Norway.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table, a row for each entry.")] = False,
) -> None:
    """The books of a year: what was sold, used, owed, paid and paid out, in the currency of the seller's books."""
    if saft == as_csv:
        raise fail("say either --saft or --csv")
    seller = settings().seller
    currency = books_currency(seller.country) or DOLLARS
    read_at = system_clock()
    read = transact(lambda connection: read_books(connection, year, currency), snapshot=True)
    try:
        content = (
            written(as_saft(read, seller, version("appliance"), system_clock().date())) if saft else _csv(read)
        )
    except ValueError as error:
        raise fail(str(error)) from None
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.rename(file)
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    is_final = transact(lambda connection: note_export(connection, year, read_at))
    typer.echo(f"{len(read.vouchers)} vouchers of {year} are in {file}")
    if is_final:
        typer.echo(
            f"These are the books of {year} from now on: rates and documents that come later do not change them"
        )


def _csv(read: Books) -> bytes:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, table.COLUMNS)
    writer.writeheader()
    writer.writerows(table.rows(read))
    return lines.getvalue().encode()
