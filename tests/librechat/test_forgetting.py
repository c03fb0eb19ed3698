"""A chat that was restored from a backup: who was deleted since is deleted again, and nobody else."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from bson import ObjectId
from sqlalchemy import delete

from appliance.identity.tables import person
from appliance.librechat.data import ChatData
from appliance.librechat.forgetting import DELETED, OtherPeople, forget
from billing.customers.accounts import Entry, record
from tests.librechat.test_leaving import Chatting, chatting, house, settings_more, two_people

__all__ = ["chatting", "house", "settings_more"]


@pytest.fixture
async def chat(chatting: Chatting) -> AsyncIterator[ChatData]:
    made = ChatData(chatting.uri, chatting.uploads, chatting.uploads.parent / "images")
    yield made
    await made.close()


async def texts(chatting: Chatting) -> str:
    return " ".join([one["text"] async for one in chatting.database["messages"].find({})])


def papers(folder: Path) -> list[str]:
    return sorted(file.read_text() for file in folder.rglob("*.pdf"))


async def test_who_was_deleted_since_the_backup_does_not_come_back(chatting: Chatting, chat: ChatData) -> None:
    await two_people(chatting)
    since = chatting.house.clock()
    async with chatting.house.database.begin() as connection:
        assert await forget(chat, connection, since) == (0, 0)
        await connection.execute(delete(person).where(person.c.email == "ada@example.com"))
    async with chatting.house.database.begin() as connection:
        assert await forget(chat, connection, since) == (1, 0)
        assert await forget(chat, connection, since) == (0, 0)
    assert await texts(chatting) == "What is the capital of France? asks ben@example.com"
    assert papers(chatting.uploads) == ["of ben@example.com"]
    assert await chatting.database["users"].count_documents({}) == 1


async def test_chats_that_somebody_had_deleted_since_are_deleted_again_and_older_requests_are_not(
    chatting: Chatting, chat: ChatData
) -> None:
    await two_people(chatting)
    asked_at = chatting.house.clock()
    async with chatting.house.database.begin() as connection:
        ada = await chatting.account_of("ada@example.com")
        await record(connection, Entry(asked_at, "root", DELETED, ada, "account", "asked by mail"))
        assert await forget(chat, connection, asked_at + timedelta(seconds=1)) == (0, 0)
        assert await forget(chat, connection, asked_at - timedelta(seconds=1)) == (1, 0)
    assert "ada" not in await texts(chatting)


async def test_files_of_somebody_whom_the_dump_does_not_know_go_too(chatting: Chatting, chat: ChatData) -> None:
    await two_people(chatting)
    for folder in (chatting.uploads / str(ObjectId()), chatting.uploads / "temp" / str(ObjectId())):
        folder.mkdir(parents=True)
        (folder / "left.pdf").write_text("of nobody")
    (chatting.uploads / "avatars").mkdir()
    async with chatting.house.database.begin() as connection:
        assert await forget(chat, connection, chatting.house.clock()) == (0, 2)
    assert papers(chatting.uploads) == ["of ada@example.com", "of ben@example.com"]
    assert (chatting.uploads / "avatars").is_dir()


async def test_another_systems_chat_is_not_emptied(chatting: Chatting, chat: ChatData) -> None:
    await chatting.database["users"].insert_one({"openidId": str(uuid4())})
    await chatting.database["users"].insert_one({"openidId": "no subject of ours"})
    async with chatting.house.database.begin() as connection:
        with pytest.raises(OtherPeople):
            await forget(chat, connection, chatting.house.clock())
    assert await chatting.database["users"].count_documents({}) == 2
