"""What our database says of a customer's chat, and what LibreChat's holds of the person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import bson.json_util
from pymongo import MongoClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.settings import Settings, load_settings
from billing.database.db import Database
from tests.chat_check.stage import EMAIL
from tests.scenarios.system import System

Result = TypeVar("Result")
CREDIT_NANODOLLARS = 5 * 10**9


@dataclass(frozen=True)
class Charged:
    requests: int
    prompt_tokens: int
    completion_tokens: int
    spent_nanodollars: int
    balance_nanodollars: int
    granted_nanodollars: int
    other_channels: int
    """Requests that came by another way."""


def requests(system: System) -> list[dict[str, Any]]:
    """Newest first."""
    found: list[dict[str, Any]] = system.ask("usage", "list", "--account", EMAIL, "--limit", "1000")
    return found


def of_the_chat(system: System) -> Charged:
    lines = system.ask("usage", "summary", "--by", "channel", "--account", EMAIL)["lines"]
    (chat,) = [line for line in lines if line["channel"] == "chat"]
    (account,) = [one for one in system.ask("account", "list") if one["name"] == EMAIL]
    return Charged(
        requests=chat["requests"],
        prompt_tokens=chat["prompt_tokens"],
        completion_tokens=chat["completion_tokens"],
        spent_nanodollars=chat["cost_nanodollars"],
        balance_nanodollars=account["balance_nanodollars"],
        granted_nanodollars=CREDIT_NANODOLLARS,
        other_channels=sum(line["requests"] for line in lines if line["channel"] != "chat"),
    )


@dataclass(frozen=True)
class Person:
    """``user`` is LibreChat's number of them, ``subject`` ours."""

    user: str
    subject: str
    email: str

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.user, self.subject, self.email)


def person_in_librechat(settings: Settings, email: str) -> Person:
    with _librechat(settings) as database:
        found = database.users.find_one({"email": email})
    assert found is not None, f"{email} is nobody in LibreChat"
    return Person(str(found["_id"]), found["openidId"], email)


def documents_of(settings: Settings, person: Person) -> int:
    """That have a mark of the person anywhere in them, in whatever collection."""
    count = 0
    with _librechat(settings) as database:
        for name in database.list_collection_names():
            for document in database[name].find():
                written = bson.json_util.dumps(document)
                count += any(mark in written for mark in person.marks)
    return count


def files_of(settings: Settings, person: Person) -> list[Path]:
    folders = (Path(folder) for folder in (settings.chat.uploads, settings.chat.images))
    return [path for folder in folders for path in folder.glob(f"**/{person.user}/**/*") if path.is_file()]


def let_the_days_pass(system: System) -> int:
    """As if the deletion had been asked for a month earlier; the number of the account."""

    async def work(connection: AsyncConnection) -> int:
        earlier = (
            "UPDATE account SET delete_at = delete_at - interval '31 days' WHERE status = 'deleting' RETURNING id"
        )
        return int((await connection.execute(text(earlier))).scalar_one())

    return _in_the_database(system, work)


def wait_until_deleted(system: System, number: int, seconds: float) -> None:
    async def work(connection: AsyncConnection) -> str:
        status = "SELECT status FROM account WHERE id = :number"
        return str((await connection.execute(text(status), {"number": number})).scalar_one())

    until = time.monotonic() + seconds
    while (status := _in_the_database(system, work)) != "deleted":
        assert time.monotonic() < until, f"the account is not deleted but {status}"
        time.sleep(0.5)


def _in_the_database(system: System, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        database = Database(load_settings(system.env).sqlalchemy_url)
        try:
            async with database.begin() as connection:
                return await work(connection)
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as aside:  # Playwright has an event loop in this thread
        return aside.submit(lambda: asyncio.run(run())).result()


@contextmanager
def _librechat(settings: Settings) -> Iterator[Any]:
    with MongoClient[dict[str, Any]](settings.mongo_uri) as client:
        yield client.get_default_database()
