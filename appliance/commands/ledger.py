"""``appliance ledger``: the proof that the books balance."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson
from appliance.commands.session import as_document, print_json, print_table, settings, transact
from billing.proof import rules as ledger
from billing.proof.archive import check_file, list_archives
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
def verify(as_json: AsJson = False) -> None:
    """Check every rule of the books against every row, and every sealed day. Exit status 0 only if all hold."""

    async def work(connection: AsyncConnection) -> tuple[list[Discrepancy], list[BrokenSeal], Seal | None]:
        found = await ledger.verify(connection)
        return found, await verify_seals(connection), await newest_seal(connection)

    found, broken, newest = transact(work, snapshot=True)
    if as_json:
        document = {
            "balanced": not found,
            "discrepancies": [as_document(row) for row in found],
            "broken_seals": [{"day": seal.day.isoformat(), "what": seal.what} for seal in broken],
            "newest_seal": newest and {"day": newest.day.isoformat(), "digest": newest.digest.hex()},
        }
        print_json(document)
    else:
        _print(found, broken, newest)
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
