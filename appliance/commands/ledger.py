"""``appliance ledger``: the proof that the books balance."""

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson
from appliance.commands.session import as_document, moment, print_json, print_table, settings, transact
from billing.clock import system_clock
from billing.proof import rules as ledger
from billing.proof.archive import check_file, list_archives
from billing.proof.books import BooksSeal, seal_books
from billing.proof.rules import Discrepancy
from billing.proof.seals import BrokenSeal, Seal, newest_seal, verify_seals

app = typer.Typer(help="Check the books.", no_args_is_help=True)


ARCHIVES = {
    "financial_year": "YEAR", "relation": "WHAT", "file": "FILE", "records": "RECORDS", "archived_at": "ARCHIVED",
    "state": "STATE",
}  # fmt: skip


@app.callback()
def group() -> None:
    """Check the books."""


@app.command()
def verify(
    as_json: AsJson = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="Also a digest of the books, to compare databases.")
    ] = False,
    until: Annotated[
        str, typer.Option(help="What the digest is of: all before this moment, such as 2026-11-29T12:00Z; now.")
    ] = "",
) -> None:
    """Check every rule of the books against every row, and every sealed day. Exit status 0 only if all hold."""
    until_moment = moment(until) if until else system_clock()

    async def work(
        connection: AsyncConnection,
    ) -> tuple[list[Discrepancy], list[BrokenSeal], Seal | None, BooksSeal | None]:
        found = await ledger.verify(connection)
        broken, newest = await verify_seals(connection), await newest_seal(connection)
        return found, broken, newest, await seal_books(connection, until_moment) if seal else None

    found, broken, newest, books = transact(work, snapshot=True)
    if as_json:
        document: dict[str, Any] = {
            "balanced": not found,
            "discrepancies": [as_document(row) for row in found],
            "broken_seals": [{"day": one.day.isoformat(), "what": one.what} for one in broken],
            "newest_seal": newest and {"day": newest.day.isoformat(), "digest": newest.digest.hex()},
        }
        if books:
            document["books"] = as_document(books) | {"digest": books.digest.hex()}
        print_json(document)
    else:
        _print(found, broken, newest)
        if books:
            typer.echo(
                f"The books until {books.until.isoformat()}: {books.records} records, {books.balances} balances,"
                f" digest {books.digest.hex()}"
            )
    if found or broken:
        raise typer.Exit(1)


@app.command()
def archives(as_json: AsJson = False) -> None:
    """What was removed after its retention, and whether its files are here, as they were written."""
    folder = settings().archive
    documents = [
        as_document(one) | {"digest": one.digest.hex(), "state": check_file(one, folder)}
        for one in transact(list_archives)
    ]
    if as_json:
        print_json(documents)
    else:
        print_table(ARCHIVES, documents)


def _print(found: list[Discrepancy], broken: list[BrokenSeal], newest: Seal | None) -> None:
    for row in found:
        typer.echo(f"{row.rule}: {row.subject} should be {row.expected}, is {row.found}")
    for seal in broken:
        typer.echo(f"the records of {seal.day} are not what was sealed: {seal.what}")
    if not found:
        typer.echo(f"The books balance: {len(ledger.RULES)} rules hold.")
    if newest and not broken:
        typer.echo(f"Nothing was changed since it was sealed; newest seal {newest.day} {newest.digest.hex()}")
