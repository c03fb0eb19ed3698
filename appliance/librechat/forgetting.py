"""Deletions that a restored chat does not know of are done again.

A dump of the chat's database is older than what PostgreSQL has after a restoration. Who was deleted in between is
in the dump: there is no person with that subject any more. Whoever had only the chats deleted is on record.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.tables import person
from appliance.librechat.data import ChatData
from billing.database.tables import audit

DELETED = "chats deleted"
"""The audit's action when the chats of an account that goes on were deleted."""


class OtherPeople(Exception):
    """Nobody in the chat is a person here: one of the two databases is not this system's."""


async def forget(chat: ChatData, connection: AsyncConnection, since: datetime) -> tuple[int, int]:
    """How many people's chats were deleted, and how many folders of nobody. ``since`` is when the dump was made.

    LibreChat does not run meanwhile. Raises OtherPeople, ChatUnavailable.
    """
    in_chat = await chat.subjects()  # first: who signs up meanwhile is no stranger
    here = set((await connection.execute(select(person.c.subject))).scalars())
    if in_chat and not in_chat & here:
        raise OtherPeople
    doomed = (in_chat - here) | (in_chat & await _asked_for_it(connection, since))
    for subject in sorted(doomed):
        await chat.delete(subject)
    return len(doomed), await chat.delete_files_of_nobody()


async def _asked_for_it(connection: AsyncConnection, since: datetime) -> set[UUID]:
    asked = select(audit.c.account_id).where(audit.c.action == DELETED, audit.c.at >= since)
    found = await connection.execute(select(person.c.subject).where(person.c.account_id.in_(asked)))
    return set(found.scalars())
