"""API keys: those that there are, a new one that is shown once, and the end of one; the limits of the chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.errors import IdentityError
from appliance.identity.letters import KEY_MADE
from appliance.identity.openid import grants
from appliance.identity.sessions import hold
from appliance.identity.throttle import Rate, Throttle
from appliance.mail import queue
from appliance.settings import Settings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.accounts import get_account
from billing.customers.keys import (
    Key,
    create_key,
    limits_of_keys,
    list_keys,
    revoke_key,
    set_end,
)
from billing.customers.standing import Limits, Standings
from billing.database.db import Database
from billing.database.purposes import CHAT, PROGRAM
from billing.prices.money import parse_dollars
from serving.catalog.declared import Declared

HERE = "/keys"
NAME_CHARACTERS = 60
LASTS = (7, 30, 90, 365)
"""In days; without one, a key lasts until it is revoked."""
MOST_KEYS = 100
"""Of one account, at the same time."""
MADE = Rate(20, timedelta(minutes=10))
MOST_SHOWN = 100
"""Of those that are good no more."""


class KeyPages:
    def __init__(
        self,
        render: Render,
        database: Database,
        standings: Standings,
        throttle: Throttle,
        pepper: bytes,
        settings: Settings,
        declared: Declared,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._standings = standings
        self._throttle = throttle
        self._pepper = pepper
        self._settings = settings
        self._declared = declared
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.CUSTOMER, self.keys),
            ("POST", HERE, Audience.CUSTOMER, self.create),
            ("POST", f"{HERE}/revoke", Audience.CUSTOMER, self.revoke),
            ("POST", f"{HERE}/chat", Audience.CUSTOMER, self.limit_chat),
            ("POST", f"{HERE}/chat/end", Audience.CUSTOMER, self.end_chat),
        )

    async def keys(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def create(self, request: Request, visitor: Visitor) -> Response:
        """A key with limits is good when it has them: until then it has ended already."""
        signed, now = visitor.person, self._clock()
        try:
            wanted = _parse(await read_form(request), now)
            begins = wanted.expires_at if wanted.limits == Limits() else now
            async with self._database.begin() as connection:
                await self._throttle.spend(connection, MADE, now, "make key", str(signed.account_id))
            async with self._database.begin() as connection:
                await hold(connection, signed)
                there = await list_keys(connection, signed.account_id)
                if sum(key.is_good(now) for key in there) >= MOST_KEYS:
                    raise _Refused("You have {most} keys: revoke one first.", most=MOST_KEYS)
                account_id, pepper = signed.account_id, self._pepper
                made = await create_key(connection, account_id, wanted.name, pepper, self._clock, begins)
                await queue.enqueue(connection, KEY_MADE, signed.email, signed.language, now, account_id)
        except IdentityError as refused:
            return await self._shown(visitor, status_of(refused), refused.said(visitor.say))
        key, text = made
        if wanted.limits != Limits():
            actor = f"account {signed.account_id}"
            await self._standings.set_limits(signed.account_id, actor, wanted.limits, key.id)
            async with self._database.begin() as connection:
                await set_end(connection, key.id, wanted.expires_at)
        model = next(iter(self._declared.models()), "")
        return self._render(
            visitor, "new-key.html", name=key.name, key=text, api=self._settings.api_url, model=model
        )

    async def revoke(self, request: Request, visitor: Visitor) -> Response:
        """From the next request on. Another's key is none at all."""
        number = (await read_form(request))["key"]
        async with self._database.begin() as connection:
            key = await _own_key(connection, visitor.person.account_id, number)
            if key is None:
                raise BadForm
            if key.revoked_at is None:
                await revoke_key(connection, key.id, self._clock)
        return go(HERE)

    async def limit_chat(self, request: Request, visitor: Visitor) -> Response:
        """What the chat may spend and ask. There is nothing to limit before it was opened once."""
        account_id = visitor.person.account_id
        try:
            limits = _limits(await read_form(request))
        except _Refused as refused:
            return await self._shown(visitor, status_of(refused), refused.said(visitor.say))
        async with self._database.begin() as connection:
            chat = _chat_of(await list_keys(connection, account_id))
        if chat is None:
            raise BadForm
        await self._standings.set_limits(account_id, f"account {account_id}", limits, chat.id)
        return go(HERE)

    async def end_chat(self, _: Request, visitor: Visitor) -> Response:
        """In all browsers: its key is good no more, and nobody who is signed on to the chat renews it."""
        async with self._database.begin() as connection:
            await grants.end_all(connection, visitor.person.account_id)
        return go(HERE)

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        account_id, now = visitor.person.account_id, self._clock()
        async with self._database.begin() as connection:
            of_account = await list_keys(connection, account_id)
            limits = await limits_of_keys(connection, account_id)
            account = await get_account(connection, account_id)
        chat, keys = _chat_of(of_account), [key for key in of_account if key.purpose == PROGRAM]
        good, gone = ([key for key in keys if key.is_good(now) is is_good] for is_good in (True, False))
        gone = gone[-MOST_SHOWN:][::-1]
        return self._render(
            visitor,
            "keys.html",
            status,
            account=account,
            keys=good,
            chat_key=chat,
            has_chat=bool(self._settings.chat.address),
            gone=gone,
            limits=limits,
            lasts=LASTS,
            now=now,
            error=error,
        )


async def _own_key(connection: AsyncConnection, account_id: int, number: str) -> Key | None:
    """The key that a form names, if it is the person's own: another's is as if it were not there."""
    keys = await list_keys(connection, account_id)
    return next((key for key in keys if str(key.id) == number and key.purpose == PROGRAM), None)


def _chat_of(keys: Sequence[Key]) -> Key | None:
    return next((key for key in keys if key.purpose == CHAT), None)


class _Refused(IdentityError):
    """What was filled in cannot be a key."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    expires_at: datetime | None
    limits: Limits


def _parse(form: Mapping[str, str], now: datetime) -> _Wanted:
    """Raises _Refused."""
    name = " ".join(form["name"].split())
    if not 0 < len(name) <= NAME_CHARACTERS or not name.isprintable():
        raise _Refused("A key's name has 1 to {most} characters.", most=NAME_CHARACTERS)
    days = form["lasts"]
    if days and days not in map(str, LASTS):
        raise BadForm
    return _Wanted(name, now + timedelta(days=int(days)) if days else None, _limits(form))


def _limits(form: Mapping[str, str]) -> Limits:
    """Raises _Refused."""
    try:
        budget = parse_dollars(form["budget"]) if form["budget"].strip() else None
        requests = int(form["requests"]) if form["requests"].strip() else None
        return Limits(requests_per_minute=requests, budget=budget)
    except ValueError:
        raise _Refused("A budget is in dollars, such as 10.50, and a limit is a number above zero.") from None
