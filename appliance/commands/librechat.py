"""``appliance librechat``: the chat that customers use on the same account."""

import asyncio
import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.account import AccountArgument, Reason, resolve
from appliance.commands.session import actor, fail, moment, settings_of_first_node, transact
from appliance.identity.openid import grants
from appliance.identity.profile import subject_of
from appliance.librechat.configuration import NotRendered
from appliance.librechat.rendering import chat_models
from appliance.librechat.rendering import render as write
from appliance.secrets import SecretsError
from appliance.settings import MONGO_URI, Settings, SettingsError
from billing.clock import system_clock
from billing.customers.accounts import Account, Entry, record
from billing.database.db import Database
from billing.database.purposes import CHAT
from billing.errors import BillingError
from billing.ledger.holds import has_hold
from billing.prices.rates import Prices, price_list

QUIET_SECONDS = 600
LOOK_SECONDS = 1.0
LOOKS = 2
"""An agent asks again once its tool is done, and LibreChat writes an answer down once it is over."""

app = typer.Typer(help="LibreChat, where customers chat on the same account.", no_args_is_help=True)


@app.command()
def render(
    folder: Annotated[
        Path | None, typer.Argument(help="Where the files go; $APPLIANCE_HOME/librechat if not given.")
    ] = None,
) -> None:
    """Write LibreChat's librechat.yaml and .env by the settings, the models that run and today's prices."""
    chosen = settings_of_first_node()
    into = folder or chosen.home / "librechat"

    async def prices(connection: AsyncConnection) -> dict[str, Prices]:
        listed = await price_list(connection, system_clock)
        return {model: one.current.prices for model, one in listed.items()}

    try:
        changed = write(chosen, chat_models(chosen, transact(prices)), into)
    except (NotRendered, SecretsError) as error:
        raise fail(f"nothing was written: {error}") from None
    except OSError as error:
        raise fail(f"{into} cannot be written: {error.strerror}") from None
    if changed:
        typer.echo(f"{' and '.join(changed)} in {into}: new; LibreChat reads them when it starts")
    else:
        typer.echo(f"{into}: as it was")


@app.command()
def quiet(
    seconds: Annotated[int, typer.Option(help="The most to wait.", min=0, max=86400)] = QUIET_SECONDS,
) -> None:
    """Wait until no answer runs in the chat: a moment to start LibreChat again, which breaks them off."""
    chosen = settings_of_first_node()

    async def wait() -> bool:
        database = Database(chosen.sqlalchemy_url, application_name="appliance-cli", pool_size=1)
        until, looks = time.monotonic() + seconds, 0
        try:
            while looks < LOOKS:
                async with database.begin() as connection:
                    looks = 0 if await has_hold(connection, None, CHAT) else looks + 1
                if looks < LOOKS and time.monotonic() >= until:
                    return False
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await database.close()
        return True

    try:
        is_quiet = asyncio.run(wait())
    except BillingError as error:
        raise fail(str(error)) from None
    typer.echo("no answer runs in the chat" if is_quiet else f"after {seconds} s answers still run in the chat")


@app.command()
def delete(account: AccountArgument, reason: Reason) -> None:
    """Delete all that LibreChat holds of an account's owner, who asked for it; the account stays as it is.

    The chat is signed out first: what somebody went on to ask meanwhile would be kept for nobody.
    """
    from appliance.librechat.data import ChatUnavailable, open_chat
    from appliance.librechat.forgetting import DELETED

    chosen = _settings_with_chat()

    async def sign_out(connection: AsyncConnection) -> tuple[Account, UUID, bool]:
        found = await resolve(connection, account)
        subject = await subject_of(connection, found.id)
        if subject is None:
            raise fail(f"{account} has no owner who could have signed on to the chat")
        await grants.end_all(connection, found.id)
        return found, subject, await has_hold(connection, found.id, CHAT)

    async def clear(subject: UUID) -> None:
        chat = open_chat(chosen)
        assert chat is not None
        try:
            await chat.delete(subject)
        finally:
            await chat.close()

    found, subject, is_asking = transact(sign_out)
    if is_asking:
        raise fail(
            f"nothing is deleted: an answer of {found.name}'s chat still runs; run it again when that is over"
        )
    try:
        asyncio.run(clear(subject))
    except SettingsError as error:
        raise fail(str(error)) from None
    except ChatUnavailable as error:
        raise fail(f"not all is deleted, run it again: {error}") from None
    entry = Entry(system_clock(), actor(), DELETED, found.id, "account", reason)
    transact(lambda connection: record(connection, entry))
    typer.echo(f"all chats of {found.name} are deleted")


@app.command()
def forget(
    since: Annotated[str, typer.Option(help="When the backup was made that was restored: 2026-11-29T06:10Z.")],
) -> None:
    """After a restoration, before LibreChat starts: delete again what was deleted since the backup was made."""
    from appliance.librechat.data import ChatUnavailable, open_chat
    from appliance.librechat.forgetting import OtherPeople
    from appliance.librechat.forgetting import forget as do

    chosen, made_at = _settings_with_chat(), moment(since)

    async def work(connection: AsyncConnection) -> tuple[int, int]:
        chat = open_chat(chosen)
        assert chat is not None
        try:
            return await do(chat, connection, made_at)
        finally:
            await chat.close()

    try:
        people, folders = transact(work)
    except SettingsError as error:
        raise fail(str(error)) from None
    except ChatUnavailable as error:
        raise fail(f"not all is deleted, run it again: {error}") from None
    except OtherPeople:
        raise fail(
            f"nothing is deleted: nobody in the chat is a person here; look at DATABASE_URL and {MONGO_URI}"
        ) from None
    typer.echo(f"deleted again: the chats of {people} people, {folders} folders of files of nobody")


def _settings_with_chat() -> Settings:
    """Ends the command where there is none."""
    chosen = settings_of_first_node()
    if chosen.mongo_uri is None or not chosen.chat.address:
        raise fail(f"there is no chat to delete anything from: chat.address in appliance.yaml, and {MONGO_URI}")
    return chosen
