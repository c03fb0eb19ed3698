"""The chat's data goes where the rest of a person's goes: into their download, and away with their account."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import msgspec
import pytest
from bson import ObjectId
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typer.testing import CliRunner

from appliance.cli import app
from appliance.identity.places import Places
from appliance.identity.tables import person
from appliance.librechat.data import ChatData
from appliance.review.looking import Review
from appliance.settings import ReviewSettings
from appliance.web.app import site_app
from appliance.worker.jobs import Jobs
from appliance.worker.metrics import WorkerMetrics
from billing.customers.accounts import find_account, get_account, list_audit
from billing.customers.keys import list_keys
from billing.database.purposes import CHAT
from billing.database.tables import hold
from tests.web.chatting import Chat
from tests.web.conftest import NOW, PASSWORD, QUICK, Browser, House, house, settings_more

__all__ = ["house", "settings_more"]
NOBODY = "mongodb://127.0.0.1:1/LibreChat"
ASKED = "What is the capital of France?"


@dataclass
class Chatting:
    """A house with a chat, whose LibreChat is ``database`` and the folder ``uploads``."""

    house: House
    database: Any
    uploads: Path
    uri: str

    def worker(self, uri: str | None, registry: CollectorRegistry) -> Jobs:
        nobody: Any = None
        home, clock, standings = self.house.settings.home, self.house.clock, self.house.standings()
        review = Review(self.house.database, standings, Places(None), ReviewSettings(), "", clock)
        metrics, chat = WorkerMetrics(registry), ChatData(uri, self.uploads, None, connect_seconds=0.2)
        kept = timedelta(days=180)
        return Jobs(self.house.database, nobody, nobody, standings, metrics, home, home, kept, review, chat, clock)

    async def comes_to_the_chat(self, email: str) -> None:
        """As LibreChat notes it of somebody who signed on and asked something with a file."""
        subject, user = await self.subject_of(email), ObjectId()
        await self.database["users"].insert_one({"_id": user, "openidId": str(subject), "password": "a hash"})
        await self.database["messages"].insert_one({"user": str(user), "text": f"{ASKED} asks {email}"})
        (self.uploads / str(user)).mkdir(parents=True)
        (self.uploads / str(user) / "paper.pdf").write_text(f"of {email}")

    async def subject_of(self, email: str) -> UUID:
        async with self.house.database.begin() as connection:
            found = await connection.execute(select(person.c.subject).where(person.c.email == email))
        subject: UUID = found.scalar_one()
        return subject

    async def account_of(self, email: str) -> int:
        async with self.house.database.begin() as connection:
            found = await find_account(connection, email)
        assert found is not None
        return found.id

    async def standing_of(self, account_id: int) -> str:
        async with self.house.database.begin() as connection:
            return (await get_account(connection, account_id)).status


def with_chat(house: House, uri: str | None, uploads: Path) -> House:
    chat = msgspec.structs.replace(
        house.settings.chat,
        address="https://chat.site.example",
        uploads=str(uploads),
        images=str(uploads.parent / "images"),
    )
    settings = dataclasses.replace(house.settings, chat=chat, mongo_uri=uri)
    app = site_app(settings, House.metrics(), house.clock, QUICK, house.provider)
    return dataclasses.replace(house, settings=settings, site=app)


@pytest.fixture
async def chatting(house: House, mongo_uri: str, tmp_path: Path) -> AsyncIterator[Chatting]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_uri)
    uploads = tmp_path / "uploads"
    for folder in (uploads, tmp_path / "images"):
        folder.mkdir()
    there = with_chat(house, mongo_uri, uploads)
    yield Chatting(there, client.get_default_database("none"), uploads, mongo_uri)
    await client.close()
    await there.site.database.close()


async def two_people(chatting: Chatting) -> tuple[Browser, Browser]:
    ada, ben = chatting.house.browser(), chatting.house.browser("198.51.100.1")
    await ada.sign_up("ada@example.com")
    await ben.sign_up("ben@example.com", "Ben")
    for email in ("ada@example.com", "ben@example.com"):
        await chatting.comes_to_the_chat(email)
    return ada, ben


async def test_the_download_has_ones_own_chats_and_files_and_nobody_elses(chatting: Chatting) -> None:
    ada, _ = await two_people(chatting)
    answer = await ada.client.get("/account/data")
    with ZipFile(BytesIO(answer.content)) as archive:
        lines = [json.loads(line) for line in archive.read("chat.jsonl").decode().splitlines()]
        files = [name for name in archive.namelist() if name.startswith("chat/")]
        paper, explained = archive.read(files[0]), archive.read("README.txt").decode()
    assert [one["collection"] for one in lines] == ["users", "messages"]
    assert lines[1]["document"]["text"] == f"{ASKED} asks ada@example.com"
    assert "password" not in lines[0]["document"]
    assert (files, paper) == (["chat/uploads/paper.pdf"], b"of ada@example.com")
    assert "chat.jsonl" in explained


async def running(connection: AsyncConnection, account_id: int) -> dict[str, Any]:
    """The hold of an answer that runs in the account's chat."""
    (key,) = [key for key in await list_keys(connection, account_id) if key.purpose == CHAT]
    what = {"rate_id": 1, "model": "smollm2", "endpoint": "/v1/chat/completions", "amount_nanodollars": 1}
    return {"request_id": uuid4(), "account_id": account_id, "key_id": key.id, "created_at": NOW, **what}


async def test_whoever_asks_for_it_has_their_chats_deleted_and_keeps_the_account(
    chatting: Chatting, tmp_path: Path
) -> None:
    ada, _ = await two_people(chatting)
    chat = Chat(chatting.house)
    made = await chat.sign_on(ada)
    number = await chatting.account_of("ada@example.com")
    (config := tmp_path / "chat.yaml").write_text(
        f"chat: {{address: https://chat.site.example, uploads: {chatting.uploads}}}\n"
    )
    env = {
        "APPLIANCE_HOME": str(chatting.house.settings.home),
        "DATABASE_URL": chatting.house.settings.sqlalchemy_url,
        "APPLIANCE_CONFIG": str(config),
        "MONGO_URI": chatting.uri,
    }
    asked = ("librechat", "delete", str(number), "--reason", "asked by mail")
    away = await asyncio.to_thread(CliRunner(env=env | {"MONGO_URI": "mongodb://127.0.0.1:1"}).invoke, app, asked)
    assert "not all is deleted, run it again: LibreChat's database" in away.output
    async with chatting.house.database.begin() as connection:
        await connection.execute(insert(hold).values(**await running(connection, number)))
    early = await asyncio.to_thread(CliRunner(env=env).invoke, app, asked)
    assert "nothing is deleted: an answer of" in early.output
    assert (await chat.refresh(made["refresh_token"])).status_code == 400, "nothing new is asked meanwhile"
    assert await chatting.database["messages"].count_documents({}) == 2
    async with chatting.house.database.begin() as connection:
        await connection.execute(delete(hold))
    done = await asyncio.to_thread(CliRunner(env=env).invoke, app, asked)
    assert "all chats of" in done.output, done.output
    assert [one["text"] async for one in chatting.database["messages"].find()] == [f"{ASKED} asks ben@example.com"]
    assert [file.read_text() for file in chatting.uploads.rglob("*.pdf")] == ["of ben@example.com"]
    assert await chatting.standing_of(number) == "active"
    async with chatting.house.database.begin() as connection:
        last = (await list_audit(connection, number))[-1]
    assert (last.action, last.reason) == ("chats deleted", "asked by mail")


async def test_a_quiet_moment_of_the_chat_is_waited_for_and_not_for_ever(chatting: Chatting) -> None:
    ada, _ = await two_people(chatting)
    await Chat(chatting.house).sign_on(ada)
    number = await chatting.account_of("ada@example.com")
    settings = chatting.house.settings
    env = {"APPLIANCE_HOME": str(settings.home), "DATABASE_URL": settings.sqlalchemy_url}
    asked = ("librechat", "quiet", "--seconds")
    async with chatting.house.database.begin() as connection:
        await connection.execute(insert(hold).values(**await running(connection, number)))
    busy = await asyncio.to_thread(CliRunner(env=env).invoke, app, (*asked, "1"))
    assert (busy.exit_code, busy.output) == (0, "after 1 s answers still run in the chat\n")
    waiting = asyncio.create_task(asyncio.to_thread(CliRunner(env=env).invoke, app, (*asked, "60")))
    async with chatting.house.database.begin() as connection:
        await connection.execute(delete(hold))
    assert (await waiting).output == "no answer runs in the chat\n"


async def test_a_download_is_whole_or_it_is_none(chatting: Chatting, caplog: pytest.LogCaptureFixture) -> None:
    await two_people(chatting)
    away = with_chat(chatting.house, NOBODY + "?serverSelectionTimeoutMS=200", chatting.uploads).browser()
    await away.sign_in()
    page = await away.get("/account/data")
    assert (page.status, page.title) == (503, "One moment")
    assert "Your chats cannot be read at the moment." in page.words
    assert "LibreChat's database: ServerSelectionTimeoutError" in caplog.text


async def test_a_chat_without_an_address_of_its_database_gives_no_download(
    chatting: Chatting, caplog: pytest.LogCaptureFixture
) -> None:
    await two_people(chatting)
    nowhere = with_chat(chatting.house, None, chatting.uploads).browser()
    await nowhere.sign_in()
    page = await nowhere.get("/account/data")
    assert (page.status, page.title) == (503, "One moment")
    assert "MONGO_URI is not set" in caplog.text


@pytest.mark.parametrize(
    ("uri", "why"),
    [(NOBODY, "LibreChat's database: ServerSelectionTimeoutError"), (None, "MONGO_URI is not set")],
    ids=["away", "nowhere"],
)
async def test_an_account_is_deleted_once_its_chats_are_and_the_operator_sees_it_wait(
    chatting: Chatting, caplog: pytest.LogCaptureFixture, uri: str | None, why: str
) -> None:
    ada, _ = await two_people(chatting)
    number, registry = await chatting.account_of("ada@example.com"), CollectorRegistry()
    await ada.post("/account/delete", {"password": PASSWORD})
    away, there = chatting.worker(uri, registry), chatting.worker(chatting.uri, CollectorRegistry())
    await away.delete_accounts()
    assert registry.get_sample_value("appliance_deletions_waiting") == 0, "the thirty days are not over"
    chatting.house.clock.turn(days=31, minutes=1)
    await away.delete_accounts()
    assert await chatting.standing_of(number) == "deleting"
    assert registry.get_sample_value("appliance_deletions_waiting") == 1
    assert f"account {number} waits to be deleted: {why}" in caplog.text
    operator = chatting.house.browser("203.0.113.1")
    await operator.become_operator()
    assert "Accounts whose deletion is late: 1." in (await operator.get("/console")).words
    await there.delete_accounts()
    await there.forget()
    assert await chatting.standing_of(number) == "deleted"
    assert [one["text"] async for one in chatting.database["messages"].find()] == [f"{ASKED} asks ben@example.com"]
    assert await chatting.database["users"].count_documents({}) == 1
    assert [file.read_text() for file in chatting.uploads.rglob("*.pdf")] == ["of ben@example.com"]
    assert "late" not in (await operator.get("/console")).words
