"""``appliance ledger``: the proof that the books balance."""

import typer

from appliance.commands.account import AsJson
from appliance.commands.session import as_document, print_json, transact
from billing import ledger

app = typer.Typer(help="Check the books.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check the books."""


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check every rule of the books against every row. Exit status 0 only if all of them hold."""
    found = transact(ledger.verify, snapshot=True)
    if as_json:
        print_json({"balanced": not found, "discrepancies": [as_document(row) for row in found]})
    elif found:
        for row in found:
            typer.echo(f"{row.rule}: {row.subject} should be {row.expected}, is {row.found}")
    else:
        typer.echo(f"The books balance: {len(ledger.RULES)} rules hold.")
    if found:
        raise typer.Exit(1)
