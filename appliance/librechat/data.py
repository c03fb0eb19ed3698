"""A person's data in LibreChat: read for their export, and deleted with their account.

What LibreChat holds is in its MongoDB and in two folders of files. People are found by their subject, which is
LibreChat's `openidId`. Both ways can be gone again: whatever an earlier run left is found by the next.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from bson import ObjectId
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from appliance.librechat.holdings import (
    BANS,
    HOLDINGS,
    MEMBERS,
    NAMED_IN,
    PERSON,
    User,
    bans_of,
    memberships_of,
)
from appliance.settings import MONGO_URI, Settings, SettingsError

Document = dict[str, Any]
DATABASE = "test"
"""LibreChat's, where its address names none."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
PAGE = 500


class ChatUnavailable(Exception):
    """LibreChat's database or its files cannot be reached now; the message says which, and names nobody."""


class ChatData:
    def __init__(
        self,
        uri: str | None,
        uploads: Path | None,
        images: Path | None,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        """Without ``uri`` nobody said where the database is, and nothing can be read or deleted.

        ``uploads`` and ``images`` are LibreChat's folders, each with one for each user; None: none.
        """
        self._client = None if uri is None else _client(uri, connect_seconds)
        self._uploads = uploads
        self._images = images

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def read(self, subject: UUID) -> AsyncIterator[tuple[str, list[Document]]]:
        """All documents, in pages, with their collection's name. Raises ChatUnavailable."""
        with _reached():
            for user in await self._users(subject):
                for holding in (PERSON, *HOLDINGS):
                    async for page in self._pages(holding.collection, holding.of(user), holding.secret):
                        yield holding.collection, page
                groups, members = MEMBERS
                async for page in self._pages(groups, {members: {"$in": memberships_of(user)}}, (members,)):
                    yield groups, page
                async for page in self._pages(BANS, bans_of(user), ()):
                    yield BANS, page

    async def files(self, subject: UUID) -> list[tuple[str, Path]]:
        """Each with the name that it has in an export. Raises ChatUnavailable."""
        with _reached():
            users = await self._users(subject)
            return await asyncio.to_thread(lambda: [file for user in users for file in self._files_of(user.id)])

    async def delete(self, subject: UUID) -> None:
        """All of it, for good; nothing if there is none. Raises ChatUnavailable, and is then to be done again."""
        with _reached():
            for user in await self._users(subject):
                folders = await asyncio.to_thread(list, self._folders_of(user.id))
                await self._delete_documents(user)
                for _, folder in folders:
                    await asyncio.to_thread(_remove, folder)
                await self._database[PERSON.collection].delete_one({"_id": user.id})

    async def subjects(self) -> set[UUID]:
        """Of everybody whom LibreChat knows by one. Raises ChatUnavailable."""
        with _reached():
            found = self._database[PERSON.collection].find({"openidId": {"$type": "string"}}, {"openidId": 1})
            texts = [one["openidId"] async for one in found]
        return {subject for text in texts if (subject := _as_subject(text)) is not None}

    async def delete_files_of_nobody(self) -> int:
        """Folders of users whom LibreChat does not know; how many there were. Raises ChatUnavailable."""
        with _reached():
            known = {str(one["_id"]) async for one in self._database[PERSON.collection].find({}, {"_id": 1})}
            theirs = await asyncio.to_thread(list, self._folders_of_users())
            nobodys = [folder for folder in theirs if folder.name not in known]
            for folder in nobodys:
                await asyncio.to_thread(_remove, folder)
        return len(nobodys)

    async def _delete_documents(self, user: User) -> None:
        database = self._database
        for holding in HOLDINGS:
            if holding.shared:
                async for page in self._pages(holding.collection, holding.of(user), (), only_ids=True):
                    resources = [one["_id"] for one in page]
                    await database["aclentries"].delete_many({"resourceId": {"$in": resources}})
            await database[holding.collection].delete_many(holding.of(user))
        for name, field in NAMED_IN:
            await database[name].update_many({field: {"$in": user.names}}, {"$unset": {field: ""}})
        groups, members = MEMBERS
        known = memberships_of(user)
        await database[groups].update_many({members: {"$in": known}}, {"$pull": {members: {"$in": known}}})
        await database[BANS].delete_many(bans_of(user))

    @property
    def _database(self) -> AsyncDatabase[Document]:
        if self._client is None:
            raise ChatUnavailable(f"{MONGO_URI} is not set")
        return self._client.get_default_database(DATABASE)

    async def _users(self, subject: UUID) -> list[User]:
        found = self._database[PERSON.collection].find({"openidId": str(subject)}, {"email": 1})
        return [User(one["_id"], subject, one.get("email", "")) async for one in found]

    async def _pages(
        self, collection: str, wanted: Document, without: tuple[str, ...], *, only_ids: bool = False
    ) -> AsyncIterator[list[Document]]:
        fields = {"_id": 1} if only_ids else dict.fromkeys(without, 0)
        page: list[Document] = []
        async for document in self._database[collection].find(wanted, fields or None, batch_size=PAGE):
            page.append(document)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    def _folders_of(self, user_id: ObjectId) -> Iterator[tuple[str, Path]]:
        """A user's own need not be there. Raises ChatUnavailable if one of LibreChat's is not."""
        for root in (self._uploads, self._images):
            if root is not None and not root.is_dir():
                raise ChatUnavailable(f"LibreChat's files: {root} is not there")
        if self._uploads is not None:
            yield "uploads", self._uploads / str(user_id)
            yield "uploads/temp", self._uploads / "temp" / str(user_id)
        if self._images is not None:
            yield "images", self._images / str(user_id)

    def _folders_of_users(self) -> Iterator[Path]:
        """Everybody's: those whose name is an id of MongoDB."""
        roots = [self._uploads, self._uploads and self._uploads / "temp", self._images]
        for root in filter(None, roots):
            if root.is_dir():
                yield from (
                    folder for folder in root.iterdir() if ObjectId.is_valid(folder.name) and folder.is_dir()
                )

    def _files_of(self, user_id: ObjectId) -> Iterator[tuple[str, Path]]:
        for name, folder in self._folders_of(user_id):
            for below, _, files in os.walk(folder, onerror=_unless_gone):
                for file in sorted(Path(below, one) for one in files):
                    if file.is_file() and not file.is_symlink():
                        yield f"{name}/{file.relative_to(folder)}", file


def open_chat(settings: Settings) -> ChatData | None:
    """None where there is no chat. Raises SettingsError."""
    if not settings.chat.address:
        return None
    uploads, images = (
        Path(folder) if folder else None for folder in (settings.chat.uploads, settings.chat.images)
    )
    try:
        return ChatData(settings.mongo_uri, uploads, images)
    except (PyMongoError, ValueError):
        # What the driver says of an address may quote a part of the password.
        raise SettingsError(
            f"{MONGO_URI}: no address of a MongoDB; user and password are percent-encoded"
        ) from None


def _client(uri: str, connect_seconds: float) -> AsyncMongoClient[Document]:
    return AsyncMongoClient(
        uri,
        appname="appliance",
        serverSelectionTimeoutMS=round(connect_seconds * 1000),
        connectTimeoutMS=round(connect_seconds * 1000),
        socketTimeoutMS=ANSWER_SECONDS * 1000,
        # MongoDB's dates go further than Python's: one of those comes as a number of milliseconds.
        datetime_conversion="DATETIME_AUTO",
    )


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise ChatUnavailable(f"LibreChat's database: {type(error).__name__}") from None
    except OSError as error:
        raise ChatUnavailable(f"LibreChat's files: {error.strerror}") from None


def _as_subject(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _remove(folder: Path) -> None:
    """A folder that is not there is removed already."""
    if folder.exists():
        shutil.rmtree(folder)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
