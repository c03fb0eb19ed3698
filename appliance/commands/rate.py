"""``appliance rate``: what models cost, from when on."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AsJson, resolve
from appliance.commands.session import (
    actor,
    as_document,
    dollars,
    fail,
    print_json,
    print_table,
    settings,
    transact,
)
from billing.clock import system_clock
from billing.prices import rates
from billing.prices.money import MICRODOLLARS_PER_DOLLAR, format_dollars, parse_rate
from billing.prices.rates import Prices

app = typer.Typer(help="Set, announce and list prices.", no_args_is_help=True)

PerMillion = Annotated[str, typer.Option(help="Dollars per million tokens.")]
Each = Annotated[str, typer.Option(help="Dollars for each.")]
Model = Annotated[str, typer.Argument(help="The model's id.")]

COLUMNS = {
    "id": "ID", "model": "MODEL", "account_id": "ACCOUNT", "effective_at": "FROM", "ends_at": "UNTIL",
    "input": "INPUT", "cached_input": "CACHED", "output": "OUTPUT", "request": "REQUEST", "image": "IMAGE",
    "audio_second": "AUDIO/S", "withdrawn_at": "TAKEN BACK",
}  # fmt: skip


@app.command("set")
def set_now(
    model: Model,
    input_: Annotated[str, typer.Option("--input", help="Dollars per million tokens.")],
    cached_input: PerMillion,
    output: PerMillion,
    request: Each = "0",
    image: Each = "0",
    audio_second: Each = "0",
    account: Annotated[str | None, typer.Option(help="Negotiated, for this account: id or name.")] = None,
    until: Annotated[datetime | None, typer.Option(help="End (UTC) of a negotiated rate.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with a negotiated rate.")] = "agreement",
    emergency: Annotated[str | None, typer.Option(help="Why it cannot be announced first. Kept.")] = None,
) -> None:
    """A rate from now on: a model's first, one negotiated for an account, or in an emergency."""
    prices = _prices(input_, cached_input, output, request, image, audio_second)
    days = settings().billing.rate_notice_days

    async def work(connection: AsyncConnection) -> None:
        if account is None:
            await rates.change_rate(
                connection, model, prices, now, lambda: now, notice_days=days, actor=actor(), emergency=emergency
            )
        else:
            owner = await resolve(connection, account)
            end = None if until is None else until.replace(tzinfo=UTC)
            await rates.negotiate_rate(
                connection, owner.id, model, prices, lambda: now, ends_at=end, actor=actor(), reason=reason
            )

    now = system_clock()
    transact(work)
    typer.echo(f"{model} costs that from now on")


@app.command()
def schedule(
    model: Model,
    on: Annotated[datetime, typer.Option(help="When it takes effect (UTC): 2027-01-31.")],
    input_: Annotated[str, typer.Option("--input", help="Dollars per million tokens.")],
    cached_input: PerMillion,
    output: PerMillion,
    request: Each = "0",
    image: Each = "0",
    audio_second: Each = "0",
    account: Annotated[str | None, typer.Option(help="Negotiated, for this account: id or name.")] = None,
    until: Annotated[datetime | None, typer.Option(help="End (UTC) of a negotiated rate.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with a negotiated rate.")] = "agreement",
) -> None:
    """Change a model's rate on a date, and queue its announcement; or from a date on for one account."""
    prices = _prices(input_, cached_input, output, request, image, audio_second)
    days = settings().billing.rate_notice_days
    start = on.replace(tzinfo=UTC)

    async def work(connection: AsyncConnection) -> None:
        if account is None:
            await rates.change_rate(
                connection, model, prices, start, system_clock, notice_days=days, actor=actor()
            )
        else:
            owner = await resolve(connection, account)
            end = None if until is None else until.replace(tzinfo=UTC)
            await rates.negotiate_rate(
                connection, owner.id, model, prices, system_clock, ends_at=end, actor=actor(), reason=reason,
                effective_at=start,
            )  # fmt: skip

    transact(work)
    told = "; customers will be told" if account is None else f" for {account}"
    typer.echo(f"{model} costs that from {start.isoformat()} on{told}")


@app.command()
def withdraw(
    rate: Annotated[int, typer.Argument(help="Its id, as `appliance rate list` shows it.")],
    reason: Annotated[str, typer.Option(help="Kept.")],
) -> None:
    """Take back a rate until a day before it takes effect; who was told of it is told again."""

    async def work(connection: AsyncConnection) -> rates.Version:
        return await rates.withdraw_rate(connection, rate, system_clock, actor=actor(), reason=reason)

    version = transact(work)
    typer.echo(f"{version.model} will not cost that from {version.effective_at.isoformat()} on")


@app.command("list")
def list_all(
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    account: Annotated[str | None, typer.Option(help="Only those negotiated for it: id or name.")] = None,
    as_json: AsJson = False,
) -> None:
    """All versions, past and to come."""

    async def work(connection: AsyncConnection) -> list[rates.Version]:
        owner = None if account is None else (await resolve(connection, account)).id
        return await rates.list_versions(connection, model, owner)

    documents = [as_document(version) for version in transact(work)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, [_shown(document) for document in documents])


def _prices(input_: str, cached_input: str, output: str, request: str, image: str, audio_second: str) -> Prices:
    try:
        tokens = [parse_rate(text) for text in (input_, cached_input, output)]
        return Prices(*tokens, *(dollars(text) for text in (request, image, audio_second)))
    except ValueError as error:
        raise fail(str(error)) from None


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """Prices in dollars."""
    per_million = {
        name: format_dollars(document[name] * (10**9 // MICRODOLLARS_PER_DOLLAR))
        for name in ("input", "cached_input", "output")
    }
    each = {name: format_dollars(document[name]) for name in ("request", "image", "audio_second")}
    return document | per_million | each
