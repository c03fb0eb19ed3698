"""``appliance account``: who has credit here."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.session import (
    act,
    actor,
    as_document,
    dollars,
    fail,
    print_json,
    print_table,
    settings,
    transact,
)
from appliance.identity import sessions
from appliance.identity.ending import end_everybodys_sessions, end_sessions_of
from appliance.site.countries import countries
from billing.clock import system_clock
from billing.customers import accounts
from billing.customers.accounts import Account, Entry
from billing.customers.standing import Limits, Standings
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.on_account import require_table
from billing.documents.vat import needs_tax_number
from billing.errors import Conflict
from billing.prices.money import format_dollars
from billing.store.port import Standing

app = typer.Typer(help="Create and look at accounts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AccountArgument = Annotated[str, typer.Argument(help="The account's id or name.")]
Limit = Annotated[int | None, typer.Option(min=1, max=2**31 - 1)]
Reason = Annotated[str, typer.Option(help="Kept on record.")]

COLUMNS = {
    "id": "ID", "name": "NAME", "role": "ROLE", "status": "STATUS", "balance": "BALANCE", "held": "HELD",
    "open_holds": "RUNNING",
}  # fmt: skip


async def resolve(connection: AsyncConnection, account: str) -> Account:
    """An account by its id, or by its name. Ends the command if there is none."""
    found = await accounts.find_account(connection, account)
    if found is None and account.isascii() and account.isdigit() and len(account) < 19:
        return await accounts.get_account(connection, int(account))
    if found is None:
        raise fail(f"there is no account {account!r}")
    return found


def describe(account: Account) -> dict[str, Any]:
    document = as_document(account) | {"month_spent_nanodollars": account.spent(system_clock())}
    del document["month"]
    document["balance"] = format_dollars(account.balance_nanodollars)
    document["held"] = format_dollars(account.held_nanodollars)
    document["owed"] = format_dollars(account.owed_nanodollars)
    return document


@app.command()
def create(
    name: str,
    operator: Annotated[bool, typer.Option(help="An operator's account, not a customer's.")] = False,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Create an account. It has no credit and no key yet."""
    limits = Limits(requests_per_minute, tokens_per_minute, concurrent_requests)
    role = "operator" if operator else "customer"
    account = transact(lambda connection: accounts.create_account(connection, name, role, system_clock, limits))
    if as_json:
        print_json(describe(account))
    else:
        typer.echo(f"account {account.id} ({account.name}) created")


@app.command()
def show(account: AccountArgument, as_json: AsJson = False) -> None:
    """One account: standing, balance, limits."""
    document = describe(transact(lambda connection: resolve(connection, account)))
    if as_json:
        print_json(document)
        return
    for field, value in document.items():
        typer.echo(f"{field:22} {'-' if value is None else value}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All accounts."""
    documents = [describe(account) for account in transact(accounts.list_accounts)]
    if as_json:
        print_json(documents)
    else:
        print_table(COLUMNS, documents)


@app.command()
def suspend(account: AccountArgument, reason: Reason) -> None:
    """Refuse the account's requests, from the next one on."""
    _move(account, Standings.suspend, reason)


@app.command()
def resume(account: AccountArgument, reason: Reason) -> None:
    """Lift a suspension, or grant the appeal of a termination. Credit that was forfeited stays so."""
    _move(account, Standings.resume, reason)


@app.command()
def terminate(account: AccountArgument, reason: Reason) -> None:
    """Refuse the account's requests for good. Its unused credit is forfeited."""
    _move(account, Standings.terminate, reason)


@app.command("delete")
def mark_for_deletion(account: AccountArgument, reason: Reason) -> None:
    """Mark the account for deletion in 30 days; `restore` undoes it until then."""
    _move(account, Standings.mark_for_deletion, reason)


@app.command()
def restore(account: AccountArgument, reason: Reason) -> None:
    """Take a deletion request back."""
    _move(account, Standings.restore, reason)


@app.command("sign-out")
def sign_out(account: AccountArgument, reason: Reason) -> None:
    """End all sessions of one account. Its keys go on; its owner may sign in again."""

    async def work(connection: AsyncConnection) -> str:
        owner = await resolve(connection, account)
        await end_sessions_of(connection, owner.id, actor(), reason, system_clock)
        return owner.name

    typer.echo(f"all sessions of {transact(work)} have ended")


@app.command("sign-out-everybody")
def sign_out_everybody(reason: Reason) -> None:
    """End all sessions of all accounts, operators' too. Keys go on."""
    count = transact(lambda connection: end_everybodys_sessions(connection, actor(), reason, system_clock))
    typer.echo(f"{count} sessions have ended")


@app.command()
def limit(
    account: AccountArgument,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Limit = None,
    budget: Annotated[str | None, typer.Option(help="Dollars a calendar month, hard.")] = None,
    key: Annotated[int | None, typer.Option(help="Limits of this key of the account, by its id.")] = None,
) -> None:
    """Set the limits of an account or of one of its keys. What is left out has no limit any more."""
    limits = Limits(
        requests_per_minute, tokens_per_minute, concurrent_requests, None if budget is None else dollars(budget)
    )
    owner = transact(lambda connection: resolve(connection, account))
    act(lambda store: Standings(store, system_clock).set_limits(owner.id, actor(), limits, key))
    typer.echo(f"the limits of {owner.name if key is None else f'key {key} of {owner.name}'} are set")


@app.command()
def terms(
    account: AccountArgument,
    reason: Reason,
    credit_limit: Annotated[str | None, typer.Option(help="Dollars it may owe; without it: prepaid.")] = None,
    priority: Annotated[int, typer.Option(help="Higher is served first when the engines are busy.")] = 0,
) -> None:
    """Make an account postpaid up to a credit limit, or prepaid again."""
    owed = None if credit_limit is None else dollars(credit_limit)
    if owed:
        try:
            require_table(settings().taxing)
        except Conflict as error:
            raise fail(str(error)) from None
    owner = transact(lambda connection: resolve(connection, account))
    act(
        lambda store: Standings(store, system_clock).set_terms(
            owner.id, actor(), credit_limit=owed, priority=priority, reason=reason
        )
    )
    typer.echo(f"{owner.name} is {'prepaid' if owed is None else f'postpaid up to {format_dollars(owed)}'}")


@app.command()
def buyer(
    account: AccountArgument,
    name: Annotated[str, typer.Option(help="The company, or the person.")],
    address: Annotated[str, typer.Option(help="Street and number.")],
    postal_code: Annotated[str, typer.Option()],
    city: Annotated[str, typer.Option()],
    country: Annotated[str, typer.Option(help="Two letters: NO.")],
    business: Annotated[bool, typer.Option(help="A company, not a consumer.")] = True,
    tax_number: Annotated[
        str | None,
        typer.Option(help="VAT or organisation number; needed where a company buys without VAT for it."),
    ] = None,
) -> None:
    """Who buys, as the account's next invoice says it. Customers say it themselves on the site."""
    number = " ".join((tax_number or "").split()) if business else ""
    buying = Buyer(name, address, postal_code, city, country, business, number or None)
    if country not in dict(countries("en")):
        raise fail(f"there is no country {country}: two letters are expected, as ISO 3166 has them")
    if buying.tax_number is None and needs_tax_number(buying, settings().taxing):
        raise fail(f"a business in {country} buys without VAT: its --tax-number is needed for that")

    async def work(connection: AsyncConnection) -> str:
        owner = await resolve(connection, account)
        try:
            await keep_buyer(connection, owner.id, buying, system_clock())
        except ValueError as error:
            raise fail(str(error)) from None
        entry = Entry(system_clock(), actor(), "buyer set", owner.id, "account", "-")
        await accounts.record(connection, entry)
        return owner.name

    typer.echo(f"the buyer of {transact(work)} is set")


@app.command()
def audit(account: AccountArgument, as_json: AsJson = False) -> None:
    """Who did what with the account, why and when, oldest first."""

    async def work(connection: AsyncConnection) -> list[Entry]:
        return await accounts.list_audit(connection, (await resolve(connection, account)).id)

    documents = [as_document(entry) for entry in transact(work)]
    if as_json:
        print_json(documents)
    else:
        print_table({"at": "AT", "actor": "WHO", "action": "WHAT", "subject": "OF", "reason": "WHY"}, documents)


Move = Callable[[Standings, int, str, str], Awaitable[Standing]]


def _move(account: str, move: Move, reason: str) -> None:
    owner = transact(lambda connection: resolve(connection, account))
    after = act(lambda store: move(Standings(store, system_clock), owner.id, actor(), reason))
    if after.status != "active":
        transact(lambda connection: sessions.end_all(connection, owner.id))
    typer.echo(f"account {owner.id} ({owner.name}) is {_STATUS_TEXT.get(after.status, after.status)}")


_STATUS_TEXT = {"deleting": "marked for deletion"}
