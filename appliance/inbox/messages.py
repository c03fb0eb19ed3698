"""The operator's inbox: written to by the contact form and by appeals, read and closed in the console."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, insert, not_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.emails import parse_email
from appliance.identity.errors import IdentityError
from appliance.identity.joining import person_name
from appliance.identity.origin import Origin
from appliance.identity.sessions import Signed
from appliance.identity.throttle import Rate, Throttle
from appliance.inbox.tables import message
from appliance.mail import queue
from appliance.texts import ENGLISH
from billing.clock import Clock
from billing.customers.accounts import get_account, why_closed
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.errors import Conflict, NotFound

TEXT_CHARACTERS, COMPANY_CHARACTERS = 5000, 100
APPEAL_WITHIN = timedelta(days=30)
FROM_ONE_NETWORK = Rate(5, timedelta(minutes=10))
FROM_EVERYBODY = Rate(60, timedelta(minutes=1))
"""The inbox is for people to read: a flood from everywhere fills it no faster."""
WRITTEN, DENIED = "somebody wrote", "appeal denied"
"""Kinds of mail; they are about the message. What is granted is told by the change of standing."""
CLOSED = ("suspended", "terminated")


class CannotBeSent(IdentityError):
    """What was written cannot be, or may not be any more."""


@dataclass(frozen=True, slots=True)
class Form:
    """As it was filled in."""

    name: str
    email: str
    company: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """``account_id`` is of whoever was signed in. ``outcome``: answered, granted, denied; None if it is open."""

    id: int
    account_id: int | None
    appeal: bool
    name: str
    email: str
    company: str
    text: str
    language: str
    created_at: datetime
    closed_at: datetime | None
    outcome: str | None
    answer: str | None


_COLUMNS = [message.c[name] for name in Message.__slots__]


class Inbox:
    """``operator`` is where mail about new messages goes; nowhere if it is empty. Raises DatabaseUnavailable."""

    def __init__(
        self, database: Database, throttle: Throttle, standings: Standings, operator: str, clock: Clock
    ) -> None:
        self._database = database
        self._throttle = throttle
        self._standings = standings
        self._operator = operator
        self._clock = clock

    async def write(self, form: Form, signed: Signed | None, language: str, origin: Origin) -> None:
        """By anybody. Raises IdentityError."""
        row = {
            "name": person_name(form.name), "email": parse_email(form.email).address,
            "company": _company(form.company), "text": _text(form.text), "language": language,
        }  # fmt: skip
        now, account_id = self._clock(), signed.account_id if signed else None
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "write from", origin.network)
            await self._throttle.spend(connection, FROM_EVERYBODY, now, "write")
            made = insert(message).values(**row, account_id=account_id, appeal=False, created_at=now)
            number = (await connection.execute(made.returning(message.c.id))).scalar_one()
            await self._tell_operator(connection, number, now)

    async def appeal(self, signed: Signed, text: str) -> None:
        """By the owner of an account that was closed. Raises IdentityError."""
        now, said = self._clock(), _text(text)
        async with self._database.begin() as connection:
            if not await may_appeal(connection, signed, now):
                raise CannotBeSent("An appeal is possible within 30 days.")
            row = {"account_id": signed.account_id, "name": signed.name, "email": signed.email, "company": ""}
            statement = upsert(message).values(
                **row, appeal=True, text=said, language=signed.language, created_at=now
            )
            made = (await connection.execute(statement.on_conflict_do_nothing().returning(message.c.id))).scalar()
            if made is None:
                raise CannotBeSent("Your appeal is being looked at. You will have a mail.")
            await self._tell_operator(connection, made, now)

    async def close(self, message_id: int, answer: str) -> None:
        """A question was answered, elsewhere. Raises NotFound if there is no such open one."""
        async with self._database.begin() as connection:
            found = await _open(connection, message_id, appeal=False)
            await _close(connection, found, "answered", answer, self._clock())

    async def grant(self, message_id: int, actor: str, answer: str) -> None:
        """An appeal: the account is open again, as its owner is told. Raises NotFound, Conflict, ValueError."""
        account_id, status = await self._appealing(message_id, answer)
        if status in CLOSED:
            await self._standings.resume(account_id, actor, answer)
        elif status != "active":
            raise Conflict(f"account {account_id} is {status}: it is not for you to open it")
        async with self._database.begin() as connection:
            found = await _open(connection, message_id, appeal=True)
            await _close(connection, found, "granted", answer, self._clock())

    async def deny(self, message_id: int, answer: str) -> None:
        """An appeal; its owner has a mail with the answer. Raises NotFound, Conflict, ValueError."""
        account_id, status = await self._appealing(message_id, answer)
        if status == "active":
            raise Conflict(f"account {account_id} is open again: grant the appeal")
        now = self._clock()
        async with self._database.begin() as connection:
            found = await _open(connection, message_id, appeal=True)
            await _close(connection, found, "denied", answer, now)
            await queue.enqueue(connection, DENIED, found.email, found.language, now, message_id)

    async def _appealing(self, message_id: int, answer: str) -> tuple[int, str]:
        """The account that an open appeal is of, and its standing now."""
        if not answer.strip():
            raise ValueError("a reason is needed")
        async with self._database.begin() as connection:
            found = await _open(connection, message_id, appeal=True)
            assert found.account_id is not None
            return found.account_id, (await get_account(connection, found.account_id)).status

    async def _tell_operator(self, connection: AsyncConnection, message_id: int, now: datetime) -> None:
        if self._operator:
            await queue.enqueue(connection, WRITTEN, self._operator, ENGLISH, now, message_id)


async def may_appeal(connection: AsyncConnection, signed: Signed, now: datetime) -> bool:
    """Terms: "you may appeal ... within 30 days of the action"."""
    if signed.status not in ("suspended", "terminated"):
        return False
    closed = await why_closed(connection, signed.account_id, signed.status)
    return closed is not None and now < closed.at + APPEAL_WITHIN


async def open_appeal(connection: AsyncConnection, account_id: int) -> Message | None:
    mine = (message.c.account_id == account_id, message.c.appeal, message.c.closed_at.is_(None))
    query = select(*_COLUMNS).where(*mine)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Message(**row)


async def list_messages(connection: AsyncConnection, *, closed: bool, limit: int) -> list[Message]:
    """The open ones, appeals first and then oldest first; or the closed ones, newest first."""
    query = select(*_COLUMNS).where(message.c.closed_at.is_not(None) if closed else message.c.closed_at.is_(None))
    order = (message.c.closed_at.desc(),) if closed else (message.c.appeal.desc(), message.c.created_at)
    return [Message(**row) for row in (await connection.execute(query.order_by(*order).limit(limit))).mappings()]


async def count_open(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(message).where(message.c.closed_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def get_message(connection: AsyncConnection, message_id: int) -> Message | None:
    row = (await connection.execute(select(*_COLUMNS).where(message.c.id == message_id))).mappings().one_or_none()
    return None if row is None else Message(**row)


async def forget(connection: AsyncConnection, now: datetime, kept: timedelta) -> None:
    """What was written longer ago than it is kept, answered or not; but no appeal that waits."""
    waits = and_(message.c.appeal, message.c.closed_at.is_(None))
    await connection.execute(delete(message).where(message.c.created_at <= now - kept, not_(waits)))


async def forget_writers(connection: AsyncConnection, emails: Sequence[str]) -> None:
    """What they wrote without being signed in."""
    if emails:
        known = [email.lower() for email in emails]
        await connection.execute(delete(message).where(func.lower(message.c.email).in_(known)))


async def _open(connection: AsyncConnection, message_id: int, *, appeal: bool) -> Message:
    wanted = (message.c.id == message_id, message.c.appeal == appeal, message.c.closed_at.is_(None))
    row = (await connection.execute(select(*_COLUMNS).where(*wanted).with_for_update())).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no open {'appeal' if appeal else 'message'} {message_id}")
    return Message(**row)


async def _close(connection: AsyncConnection, found: Message, outcome: str, answer: str, now: datetime) -> None:
    values = {"closed_at": now, "outcome": outcome, "answer": answer}
    await connection.execute(update(message).where(message.c.id == found.id).values(**values))


def _text(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    printable = all(one.isprintable() or one in "\n\t" for one in text)
    if not 0 < len(text) <= TEXT_CHARACTERS or not printable:
        raise CannotBeSent("A message has 1 to {most} characters.", most=TEXT_CHARACTERS)
    return text


def _company(text: str) -> str:
    company = " ".join(text.split())
    if len(company) > COMPANY_CHARACTERS or not company.isprintable():
        raise CannotBeSent("A company's name has {most} characters at most.", most=COMPANY_CHARACTERS)
    return company
