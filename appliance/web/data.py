"""All that is kept of a person, as one archive: JSON for what is few, CSV for the requests, an explanation.

Where there is a chat, all that LibreChat keeps of them is in it, too. Of other requests no content is kept.
"""

import asyncio
import csv
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import IO
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from msgspec import structs
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.errors import IdentityError
from appliance.identity.openid.tables import openid_grant
from appliance.identity.profile import subject_of
from appliance.identity.tables import acceptance, authenticator, passkey, person, session
from appliance.identity.throttle import Rate, Throttle
from appliance.inbox.tables import message
from appliance.librechat.data import ChatData, ChatUnavailable
from appliance.review.tables import finding, sighting
from appliance.site.audience import Audience
from appliance.site.pages import Routes
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.accounts import get_account
from billing.database import sales, tables
from billing.database.db import Database
from billing.payments.records import refunds_of_account
from billing.statements.period import Period, read_usage

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 16
MOST_REFUNDS = 10_000
ONE_PERSON = Rate(3, timedelta(minutes=10))
SECRET = frozenset({
    "digest", "password", "email_key", "secret", "wanted", "last_step", "credential", "public_key", "sign_count",
    "challenge", "nonce",
})  # fmt: skip
"""Of these there is a digest, a sealed text or a number, that says nothing of the person."""
OF_A_PERSON = {
    "person": person, "acceptances": acceptance, "sessions": session, "second_factor": authenticator,
    "passkeys": passkey, "chat": openid_grant, "messages": message,
    "keys": tables.api_key, "credit": tables.lot, "audit": tables.audit,
    "notices": tables.notice, "sightings": sighting, "findings": finding, "buyer": sales.buyer,
    "card": sales.wallet, "plans": sales.subscription, "payments": sales.payment, "documents": sales.document,
}  # fmt: skip
EXPLAINED = """This is all that is kept of you here.

account.json
  account         your account: its standing, credit (nano-dollars, a billionth of a US dollar) and limits
  person          your name, email address and language, and the random number by which the chat knows you
  acceptances     which versions of the terms you accepted, when, and from which address
  sessions        the browsers in which you are signed in; the network is the address cut short
  second_factor   whether there is an authenticator
  passkeys        how you named them, and when they were made and used; the secret part never leaves your device
  chat            in which of the sessions you are signed on to the chat, and since when
  messages        what you wrote to us
  keys            your API keys, by their last characters; of a key itself only a digest is kept
  credit          each lot of credit: where it is from, when it ends, what is left
  audit           what was done with your account, by whom and why
  notices         what you were told by mail
  sightings       from which networks your keys were used, by the hour; each is an address cut short,
                  and 0.0.0.0/24 what came by the chat
  findings        what looked like sharing or spam to us, and why
  buyer           who buys, as your next receipt will say it
  card            the card that you saved, by its last digits, and when it is charged by itself
  plans           the plans that you had, and from when to when
  payments        what you paid, when and for what; Stripe has the card's number, and we do not
  refunds         what was paid back to you, and why
  documents       your receipts, invoices and credit notes

usage.csv
  A line for each request: when, which model, how many tokens, what it cost (nano-dollars), and whether it came by
  the API, the chat or the playground. What was asked and answered is not here, because the API keeps nothing of
  it. Ask us for requests of years that are archived.

Times are UTC.
"""
EXPLAINED_CHAT = """
chat.jsonl
  All that the chat keeps of you, a document a line: your conversations, with what was asked and answered, your
  presets and prompts, your user there. `collection` says what it is. Digests and sealed texts of passwords, tokens
  and keys are not here.

chat/
  The files that you gave to the chat.
"""


class DataPages:
    def __init__(
        self, render: Render, database: Database, throttle: Throttle, chat: ChatData | None, clock: Clock
    ) -> None:
        self._render = render
        self._database = database
        self._throttle = throttle
        self._chat = chat
        self._clock = clock
        self._one_at_a_time = asyncio.Semaphore(1)

    def routes(self) -> Routes:
        return (("GET", "/account/data", Audience.PERSON, self.download),)

    async def download(self, _: Request, visitor: Visitor) -> Response:
        account_id, now = visitor.person.account_id, self._clock()
        try:
            async with self._database.begin() as connection:
                await self._throttle.spend(connection, ONE_PERSON, now, "data", str(account_id))
                subject = await subject_of(connection, account_id)
        except IdentityError as error:
            title = visitor.say("One moment")
            return self._render(
                visitor, "message.html", status_of(error), title=title, text=error.said(visitor.say)
            )
        try:
            async with self._one_at_a_time:
                archive = await self._archive(account_id, subject)
        except ChatUnavailable as error:
            log.error("a download of data was not made: %s", error)
            title, text = visitor.say("One moment"), visitor.say("Your chats cannot be read at the moment.")
            return self._render(visitor, "message.html", 503, title=title, text=text)
        name = f"attachment; filename=account-{account_id}-{now:%Y-%m-%d}.zip"
        return StreamingResponse(_pieces(archive), 200, {"content-disposition": name}, "application/zip")

    async def _archive(self, account_id: int, subject: UUID | None) -> IO[bytes]:
        """In a file without a name, which is gone when it is closed. Raises ChatUnavailable."""
        archive = TemporaryFile()  # noqa: SIM115 -- whoever reads it closes it
        try:
            with ZipFile(archive, "w", ZIP_DEFLATED, strict_timestamps=False) as file:
                file.writestr("README.txt", EXPLAINED + ("" if self._chat is None else EXPLAINED_CHAT))
                if self._chat is not None and subject is not None:
                    await _write_chat(file, self._chat, subject)
                async with self._database.snapshot() as connection:
                    document = json.dumps(await _account(connection, account_id), indent=2, default=str)
                    file.writestr("account.json", document)
                    await _write_usage(file, connection, account_id, self._clock)
        except BaseException:
            archive.close()
            raise
        archive.seek(0)
        return archive


def _pieces(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        while piece := archive.read(PIECE_BYTES):
            yield piece


async def _account(connection: AsyncConnection, account_id: int) -> dict[str, object]:
    account = await get_account(connection, account_id)
    document: dict[str, object] = {"account": {name: getattr(account, name) for name in account.__slots__}}
    for name, table in OF_A_PERSON.items():
        columns = [column for column in table.c if column.name not in SECRET]
        rows = (await connection.execute(select(*columns).where(table.c.account_id == account_id))).mappings()
        document[name] = [dict(row) for row in rows]
    refunds = await refunds_of_account(connection, account_id, MOST_REFUNDS)
    document["refunds"] = [structs.asdict(one) for one in refunds]
    return document


async def _write_chat(file: ZipFile, chat: ChatData, subject: UUID) -> None:
    with file.open("chat.jsonl", "w", force_zip64=True) as lines:
        async for collection, page in chat.read(subject):
            named = ({"collection": collection, "document": document} for document in page)
            text = "".join(json.dumps(one, ensure_ascii=False, default=str) + "\n" for one in named)
            await asyncio.to_thread(lines.write, text.encode())
    for name, path in await chat.files(subject):
        with suppress(FileNotFoundError):
            await asyncio.to_thread(file.write, path, f"chat/{name}")


async def _write_usage(file: ZipFile, connection: AsyncConnection, account_id: int, clock: Clock) -> None:
    columns = [column.name for column in tables.usage.c if column.name not in ("account_id", "rate_id")]
    columns.append("channel")
    account = await get_account(connection, account_id)
    period = Period(account.created_at.date(), max(clock().date(), account.created_at.date()))
    with file.open("usage.csv", "w", force_zip64=True) as raw, TextIOWrapper(raw, "utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        async for page in read_usage(connection, period, account_id):
            rows = [[getattr(row, name) for name in columns] for row in page]
            await asyncio.to_thread(writer.writerows, rows)
