"""What LibreChat holds of two people: one's is read and deleted, the other's is not touched. On a real server."""

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from bson import DatetimeMS, ObjectId, decode, encode
from msgspec import structs
from pymongo import AsyncMongoClient

from appliance.librechat.data import ChatData, ChatUnavailable, open_chat
from appliance.librechat.holdings import BANS, HOLDINGS, MEMBERS, PERSON
from appliance.settings import SettingsError, load_settings
from tests.librechat.kept import COLLECTIONS

Document = dict[str, Any]
TEXTS = frozenset({
    "conversations", "messages", "chatprojects", "conversationtags", "presets", "sharedlinks", "pluginauths",
    "configs",
})  # fmt: skip
"""Where LibreChat keeps a user's id as text."""
CANARY = "canary"


@dataclass
class Person:
    subject: UUID
    id: ObjectId

    def owner(self, collection: str) -> ObjectId | str:
        return str(self.id) if collection in TEXTS else self.id


class LibreChat:
    """Its database and folders, with two people who have a document in each collection."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.client: AsyncMongoClient[Document] = AsyncMongoClient(uri)
        self.database = self.client.get_default_database("none")
        self.uploads, self.images = folder / "uploads", folder / "images"
        self.data = ChatData(uri, self.uploads, self.images)

    async def person(self, word: str) -> Person:
        """Everything of theirs has the word in it."""
        one = Person(uuid4(), ObjectId())
        resource = ObjectId()
        for holding in HOLDINGS:
            document: Document = {"_id": resource if holding.collection == "agents" else ObjectId(), "what": word}
            for field in holding.fields:
                document[field] = one.owner(holding.collection)
            for field in holding.secret:
                _put(document, field, f"{CANARY} {word}")
            await self.database[holding.collection].insert_one(document)
        mail = f"{word}@example.com"
        await self.database["tokens"].insert_one({"email": mail, "userId": ObjectId(), "what": word})
        shared = {"principalId": ObjectId(), "resourceId": resource, "grantedBy": one.id, "what": word}
        await self.database["aclentries"].insert_one(shared)
        await self.database[BANS].insert_one({"key": f"bans:{one.id}", "value": "{}", "what": word})
        address = {"key": "bans:192.0.2.1" + word, "value": f'{{"user_id":"{one.id}"}}', "what": word}
        await self.database[BANS].insert_one(address)
        await self.database[PERSON.collection].insert_one(
            {"_id": one.id, "openidId": str(one.subject), "email": mail, "password": CANARY, "what": word}
        )
        for folder in (self.uploads, self.uploads / "temp", self.images):
            (folder / str(one.id)).mkdir(parents=True)
            (folder / str(one.id) / "a file.txt").write_text(word)
        return one

    async def with_word(self, word: str) -> dict[str, int]:
        names = await self.database.list_collection_names()
        counts = {name: await self.database[name].count_documents({"what": word}) for name in names}
        return {name: count for name, count in counts.items() if count}

    def files_with(self, word: str) -> int:
        return sum(
            file.read_text() == word for root in (self.uploads, self.images) for file in root.rglob("*.txt")
        )


@pytest.fixture
async def librechat(mongo_uri: str, tmp_path: Path) -> AsyncIterator[LibreChat]:
    there = LibreChat(mongo_uri, tmp_path)
    yield there
    await there.data.close()
    await there.client.close()


def test_every_collection_of_the_release_is_a_persons_or_there_is_a_reason() -> None:
    held = {holding.collection for holding in (PERSON, *HOLDINGS)} | {MEMBERS[0]}
    assert held == {name for name, why in COLLECTIONS.items() if why == "person"}


async def test_nothing_of_one_is_left_and_nothing_of_the_other_is_touched(librechat: LibreChat) -> None:
    ada, ben = await librechat.person("ada"), await librechat.person("ben")
    for member in (str(ada.id), str(ada.subject), ada.id):
        await librechat.database["groups"].insert_one({"memberIds": [member, str(ben.id)], "what": "group"})
    given = {"principalId": ben.id, "resourceId": ObjectId(), "grantedBy": ada.id, "what": "ben"}
    await librechat.database["aclentries"].insert_one(given)
    before = await librechat.with_word("ben")
    assert set(before) == {name for name, why in COLLECTIONS.items() if why == "person"} - {"groups"} | {"logs"}
    await librechat.data.delete(ada.subject)
    await librechat.data.delete(ada.subject)
    assert await librechat.with_word("ada") == {}
    assert await librechat.with_word("ben") == before
    assert (librechat.files_with("ada"), librechat.files_with("ben")) == (0, 3)
    assert [group["memberIds"] async for group in librechat.database["groups"].find()] == [[str(ben.id)]] * 3
    for name in await librechat.database.list_collection_names():
        async for document in librechat.database[name].find():
            assert str(ada.id) not in str(document), name


async def test_what_is_read_is_all_of_one_without_secrets_and_nothing_of_the_other(librechat: LibreChat) -> None:
    ada, _ = await librechat.person("ada"), await librechat.person("ben")
    await librechat.database["groups"].insert_one({"name": "a club", "memberIds": [str(ada.id)], "what": "ada"})
    many = [{"user": str(ada.id), "what": "ada", "at": datetime(2026, 1, 1, tzinfo=UTC)} for _ in range(1200)]
    await librechat.database["messages"].insert_many(many)
    read: dict[str, list[Document]] = {}
    async for collection, page in librechat.data.read(ada.subject):
        read.setdefault(collection, []).extend(page)
    assert set(read) == {name for name, why in COLLECTIONS.items() if why == "person"} | {"logs"}
    assert {one["what"] for documents in read.values() for one in documents} == {"ada"}
    assert len(read["messages"]) == 1201
    assert CANARY not in str(read)
    assert sorted(name for name, _ in await librechat.data.files(ada.subject)) == [
        "images/a file.txt", "uploads/a file.txt", "uploads/temp/a file.txt",
    ]  # fmt: skip


def test_a_date_that_no_calendar_has_can_be_read_and_written(librechat: LibreChat) -> None:
    """The database of the tests takes none: this is what the driver does with one that comes."""
    kept = encode({"at": DatetimeMS(300_000_000_000_000)})
    read = decode(kept, librechat.data._database.codec_options)
    assert json.dumps(read, default=str) == '{"at": "DatetimeMS(300000000000000)"}'


async def test_a_file_that_points_elsewhere_is_not_read_and_what_it_points_to_stays(
    librechat: LibreChat, tmp_path: Path
) -> None:
    ada = await librechat.person("ada")
    (outside := tmp_path / "outside").mkdir()
    (outside / "secret.txt").write_text("secret")
    folder = librechat.uploads / str(ada.id)
    (folder / "folder").symlink_to(outside)
    (folder / "file.txt").symlink_to(outside / "secret.txt")
    assert {file.name for _, file in await librechat.data.files(ada.subject)} == {"a file.txt"}
    await librechat.data.delete(ada.subject)
    assert (outside / "secret.txt").read_text() == "secret"
    assert not folder.exists()


@pytest.mark.parametrize("root", ["uploads", "images"])
async def test_a_folder_of_librechats_that_is_away_is_not_one_without_files(
    librechat: LibreChat, tmp_path: Path, root: str
) -> None:
    ada = await librechat.person("ada")
    before = await librechat.with_word("ada")
    (tmp_path / root).rename(tmp_path / "away")
    with pytest.raises(ChatUnavailable, match=f"LibreChat's files: {tmp_path / root} is not there"):
        await librechat.data.files(ada.subject)
    with pytest.raises(ChatUnavailable, match=f"LibreChat's files: {tmp_path / root} is not there"):
        await librechat.data.delete(ada.subject)
    assert await librechat.with_word("ada") == before
    (tmp_path / "away").rename(tmp_path / root)
    await librechat.data.delete(ada.subject)
    assert (await librechat.with_word("ada"), librechat.files_with("ada")) == ({}, 0)


async def test_whoever_gave_no_files_has_none(librechat: LibreChat) -> None:
    ada = await librechat.person("ada")
    for folder in (librechat.uploads, librechat.images, librechat.uploads / "temp"):
        shutil.rmtree(folder / str(ada.id))
    assert await librechat.data.files(ada.subject) == []
    await librechat.data.delete(ada.subject)
    assert await librechat.with_word("ada") == {}


async def test_whoever_never_came_has_nothing_there(librechat: LibreChat) -> None:
    await librechat.person("ben")
    before = await librechat.with_word("ben")
    await librechat.data.delete(uuid4())
    assert [page async for page in librechat.data.read(uuid4())] == []
    assert await librechat.with_word("ben") == before


async def test_a_database_that_is_away_is_said_without_a_name() -> None:
    data = ChatData("mongodb://127.0.0.1:1/LibreChat", None, None, connect_seconds=0.2)
    with pytest.raises(ChatUnavailable, match="LibreChat's database: ServerSelectionTimeoutError"):
        await data.delete(uuid4())
    await data.close()


@pytest.mark.parametrize("wrong", ["mongodb://user:ca@na:ry@host/LibreChat", "mongodb://ada:ry@host:ry/LibreChat"])
def test_an_address_that_is_none_is_a_sentence_without_the_password(wrong: str) -> None:
    settings = load_settings({})
    chat = structs.replace(settings.chat, address="https://chat.example.com")
    settings = replace(settings, chat=chat, mongo_uri=wrong)
    with pytest.raises(SettingsError, match="MONGO_URI: no address of a MongoDB") as error:
        open_chat(settings)
    assert "ry" not in str(error.value)


def _put(document: Document, field: str, value: str) -> None:
    *outer, name = field.split(".")
    for one in outer:
        document = document.setdefault(one, {})
    document[name] = value
