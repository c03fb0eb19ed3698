"""``appliance usage``: what was used. Never content."""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson, resolve
from appliance.commands.session import as_document, fail, print_json, print_table, transact
from billing.clock import system_clock
from billing.prices.money import format_dollars
from billing.statements.period import By, Line, Period, read_usage, require_kept, summarize, total_of
from billing.statements.usage import Usage, list_usage

Result = TypeVar("Result")

Account = Annotated[str | None, typer.Option(help="Only this account's: id or name.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of UTC: 2026-11-30.")]

app = typer.Typer(help="Look at what was used.", no_args_is_help=True)

SUMS = {
    "requests": "REQUESTS", "prompt_tokens": "PROMPT", "cached_tokens": "CACHED",
    "completion_tokens": "COMPLETION", "images": "IMAGES", "audio_seconds": "AUDIO S", "cost": "COST",
}  # fmt: skip
GROUPS = {By.DAY: "day", By.MODEL: "model", By.KEY: "key_id", By.ENDPOINT: "endpoint", By.CHANNEL: "channel"}

COLUMNS = {
    "request_id": "REQUEST", "time": "TIME", "account_id": "ACCOUNT", "model": "MODEL", "endpoint": "ENDPOINT",
    "channel": "CHANNEL",
    "prompt_tokens": "PROMPT", "cached_tokens": "CACHED", "completion_tokens": "COMPLETION",
    "cost_nanodollars": "NANO-DOLLARS", "ended": "ENDED",
}  # fmt: skip


@app.callback()
def group() -> None:
    """Look at what was used."""


@app.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 20,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Requests, newest first: tokens, cost, how the answer ended. Never content."""

    async def work(connection: AsyncConnection) -> list[Usage]:
        owner = None if account is None else (await resolve(connection, account)).id
        return await list_usage(connection, limit, owner)

    documents = [as_document(row) for row in transact(work)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)


@app.command()
def summary(
    by: Annotated[str, typer.Option(help="Any of day, model, key, endpoint, channel, with commas.")] = "day,model",
    first: Day = None,
    last: Day = None,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """What was used from --first to --last, both included: this month unless something else is said."""
    try:
        groups = [By(word) for word in by.split(",") if word]
    except ValueError:
        raise fail(f"--by takes any of {', '.join(By)}, with commas: {by}") from None
    period = _period(first, last)

    async def work(connection: AsyncConnection, account_id: int | None) -> list[Line]:
        return await summarize(connection, period, groups, account_id)

    lines = _of(period, account, work)
    total = total_of(lines)
    if as_json:
        print_json({"lines": [_document(line) for line in lines], "total": _document(total)})
        return
    columns = {GROUPS[one]: one.upper() for one in By if one in groups}
    rows = [_document(line) for line in (*(lines if groups else ()), total)]
    if columns:
        rows[-1][next(iter(columns))] = "total"
    print_table(columns | SUMS, rows)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Ends in .csv or .parquet; replaced if it is there.")],
    first: Day = None,
    last: Day = None,
    account: Account = None,
) -> None:
    """Every request from --first to --last, both included: this month unless something else is said."""
    from billing.statements.export import Exported, write_usage

    period = _period(first, last)

    async def work(connection: AsyncConnection, account_id: int | None) -> Exported:
        return await write_usage(file, read_usage(connection, period, account_id), _progress)

    try:
        done = _of(period, account, work)
    except (OSError, ValueError) as error:
        raise fail(str(error)) from None
    cost = format_dollars(done.nanodollars)
    typer.echo(f"{done.records} requests for {cost}, {period.first} to {period.last}: {file}")


def _period(first: datetime | None, last: datetime | None) -> Period:
    month = Period.month((first or last or system_clock()).date())
    try:
        return Period(first.date() if first else month.first, last.date() if last else month.last)
    except ValueError as error:
        raise fail(str(error)) from None


def _of(
    period: Period, account: str | None, work: Callable[[AsyncConnection, int | None], Awaitable[Result]]
) -> Result:
    """Runs ``work`` on one moment of the database that has the whole period, for an account or for all."""

    async def run(connection: AsyncConnection) -> Result:
        await require_kept(connection, period)
        owner = None if account is None else (await resolve(connection, account)).id
        return await work(connection, owner)

    return transact(run, snapshot=True)


def _progress(records: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{records} requests", err=True, nl=False)


def _document(line: Line) -> dict[str, Any]:
    document = as_document(line)
    return document | {
        "day": line.day and line.day.isoformat(),
        "cost": format_dollars(line.cost_nanodollars),
    }
