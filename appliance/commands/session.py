"""What the commands share: settings, a transaction, and output for people or for programs."""

import asyncio
import getpass
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.settings import Settings, SettingsError, load_settings
from billing.database.db import Database
from billing.errors import BillingError
from billing.prices.money import parse_dollars
from billing.store.postgres import PostgresStore

Result = TypeVar("Result")


def settings() -> Settings:
    try:
        return load_settings(os.environ)
    except SettingsError as error:
        raise fail(str(error)) from None


def settings_of_first_node() -> Settings:
    """Ends the command on any other node."""
    chosen = settings()
    if not chosen.is_first_node:
        raise fail(f"this node joined {chosen.joined_to.read_text().strip()}: run the command on that one")
    return chosen


def transact(work: Callable[[AsyncConnection], Awaitable[Result]], *, snapshot: bool = False) -> Result:
    """Runs ``work`` in one transaction on the operator's database; BillingError and ValueError end the command."""

    async def run() -> Result:
        database = Database(settings().sqlalchemy_url, application_name="appliance-cli", pool_size=1)
        try:
            async with database.snapshot() if snapshot else database.begin() as connection:
                return await work(connection)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (BillingError, ValueError) as error:
        raise fail(str(error)) from None
    except DBAPIError as error:
        raise fail(f"PostgreSQL refused this: {str(error.orig).rpartition('>: ')[2]}") from None


def act(work: Callable[[PostgresStore], Awaitable[Result]]) -> Result:
    """Runs an operation that makes its own transactions; a BillingError or a ValueError ends the command."""

    async def run() -> Result:
        database = Database(settings().sqlalchemy_url, application_name="appliance-cli", pool_size=1)
        try:
            return await work(PostgresStore(database))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except asyncpg.PostgresError as error:
        raise fail(f"PostgreSQL refused this: {error}") from None
    except (BillingError, ValueError) as error:
        raise fail(str(error)) from None


def actor() -> str:
    """Who is on record for what the command does: the user of this machine."""
    return getpass.getuser()


def dollars(text: str) -> int:
    """Nano-dollars; ends the command if the text is no amount."""
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise fail(str(error)) from None


def moment(words: str) -> datetime:
    """A point in time with its zone, in ISO 8601; ends the command if the words are none."""
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise fail(f"{words} is no moment: 2026-11-29T12:00Z is one") from None
    if found.tzinfo is None:
        raise fail(f"{words} has no zone: write {words}Z for UTC")
    return found


def fail(message: str) -> typer.Exit:
    typer.echo(f"appliance: {message}", err=True)
    return typer.Exit(1)


def as_document(row: Any) -> dict[str, Any]:
    """A dataclass as JSON can hold it: times in ISO 8601, ids as text."""
    return {name: _plain(value) for name, value in asdict(row).items()}


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def print_table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """``columns`` is title by field; numbers are set to the right."""
    cells = [[_text(row[field]) for field in columns] for row in rows]
    numeric = [all(_is_number(line[index]) for line in cells) and bool(cells) for index in range(len(columns))]
    table: list[Sequence[str]] = [list(columns.values()), *cells]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(padded).rstrip())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("$").isdigit() or text == "-"
