"""The customers: found, seen, and what an operator may do with an account, each act on record."""

import uuid
from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request
from fastapi.responses import Response

from appliance.console.people import People, find_people, get_person
from appliance.identity import sessions
from appliance.identity.ending import end_sessions_of
from appliance.identity.errors import IdentityError
from appliance.identity.inviting import invite
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form
from appliance.site.pages import NothingHere, Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from billing.clock import Clock
from billing.customers.accounts import Account, get_account, list_lots, recent_audit
from billing.customers.keys import list_keys
from billing.customers.standing import Limits, Standings
from billing.database.db import Database
from billing.errors import BillingError, NotFound
from billing.ledger.credit import Credit
from billing.prices.money import parse_dollars

HERE = "/console/customers"
ON_ONE_PAGE = 50
TRAIL = 200
Move = Callable[[Standings, int, str, str], Awaitable[object]]
MOVES: Mapping[str, Move] = {
    "suspend": Standings.suspend,
    "resume": Standings.resume,
    "terminate": Standings.terminate,
    "delete": Standings.mark_for_deletion,
    "restore": Standings.restore,
}
CLOSES = ("suspend", "terminate", "delete")
"""All sessions end; who signs in again sees why, and may appeal."""
POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "active": ("suspend", "terminate", "delete"),
    "suspended": ("resume", "terminate", "delete"),
    "terminated": ("resume", "delete"),
    "deleting": ("restore",),
    "deleted": (),
}


class CustomerPages:
    def __init__(
        self, render: Render, database: Database, standings: Standings, credit: Credit, clock: Clock
    ) -> None:
        self._render = render
        self._database = database
        self._standings = standings
        self._credit = credit
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.customers),
            ("GET", f"{HERE}/{{account_id}}", Audience.OPERATOR, self.customer),
            ("POST", f"{HERE}/{{account_id}}/standing", Audience.OPERATOR, self.move),
            ("POST", f"{HERE}/{{account_id}}/sessions", Audience.OPERATOR, self.end_sessions),
            ("POST", f"{HERE}/{{account_id}}/credit", Audience.OPERATOR, self.grant),
            ("POST", f"{HERE}/{{account_id}}/limits", Audience.OPERATOR, self.limit),
            ("POST", "/console/invitations", Audience.OPERATOR, self.invite),
        )

    async def customers(self, request: Request, visitor: Visitor) -> Response:
        return await self._found(request, visitor)

    async def _found(self, request: Request, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        search = request.query_params.get("search", "").replace("\0", "").strip()
        after = request.query_params.get("after", "")
        async with self._database.begin() as connection:
            found = await find_people(connection, search, number(after) or 0, ON_ONE_PAGE + 1)
        people = People(found[:ON_ONE_PAGE], more=len(found) > ON_ONE_PAGE)
        return self._render(visitor, "customers.html", status, search=search, people=people, error=error)

    async def customer(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, account_of(request), done=request.query_params.get("done", ""))

    async def move(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)
        move = MOVES.get(form["move"])
        if move is None:
            raise BadForm
        async with self._database.begin() as connection:
            if (await get_account(connection, account_id)).role != "customer":
                raise NothingHere  # an operator who closed the operator's account could not open it again

        async def act() -> None:
            await move(self._standings, account_id, actor(visitor), form["reason"])
            if form["move"] in CLOSES:
                async with self._database.begin() as connection:
                    await sessions.end_all(connection, account_id)

        return await self._acted(visitor, account_id, act)

    async def end_sessions(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)

        async def act() -> None:
            async with self._database.begin() as connection:
                await end_sessions_of(connection, account_id, actor(visitor), form["reason"], self._clock)

        return await self._acted(visitor, account_id, act)

    async def grant(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)

        async def act() -> None:
            cause, amount = uuid.UUID(form["cause"]), parse_dollars(form["amount"])
            if not form["reason"].strip():
                raise ValueError("a reason is needed")
            await self._credit.grant(account_id, amount, form["reason"].strip(), cause, actor(visitor))

        return await self._acted(visitor, account_id, act)

    async def limit(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)

        async def act() -> None:
            names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
            numbers = {name: int(form[name]) if form[name].strip() else None for name in names}
            budget = parse_dollars(form["budget"]) if form["budget"].strip() else None
            await self._standings.set_limits(account_id, actor(visitor), Limits(**numbers, budget=budget))

        return await self._acted(visitor, account_id, act)

    async def invite(self, request: Request, visitor: Visitor) -> Response:
        """In the operator's own language."""
        form = await read_form(request)
        try:
            async with self._database.begin() as connection:
                await invite(connection, form["email"], visitor.language, actor(visitor), self._clock())
        except IdentityError as error:
            return await self._found(request, visitor, 400, error.said(visitor.say))
        return go(HERE)

    async def _acted(self, visitor: Visitor, account_id: int, act: Callable[[], Awaitable[None]]) -> Response:
        try:
            await act()
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, account_id, 400, error=str(error))
        return go(f"{HERE}/{account_id}?done=yes")

    async def _shown(
        self, visitor: Visitor, account_id: int, status: int = 200, error: str = "", done: str = ""
    ) -> Response:
        async with self._database.snapshot() as connection:
            try:
                account = await get_account(connection, account_id)
            except NotFound:
                raise NothingHere from None
            owner = await get_person(connection, account_id)
            open_sessions = await sessions.of(connection, account_id, self._clock())
            lots = [lot for lot in await list_lots(connection, account_id) if lot.remaining_nanodollars]
            keys = await list_keys(connection, account_id)
            trail = await recent_audit(connection, TRAIL, account_id)
        return self._render(
            visitor,
            "customer.html",
            status,
            account=account,
            owner=owner,
            open_sessions=len(open_sessions),
            lots=lots,
            keys=[key for key in keys if key.is_good(self._clock())],
            trail=trail,
            moves=_moves(account, visitor.say),
            cause=uuid.uuid4(),
            now=self._clock(),
            error=error,
            done=bool(done),
        )


def actor(visitor: Visitor) -> str:
    """As it stands in the records, which outlive the operator's name."""
    return f"operator {visitor.person.account_id}"


def _moves(account: Account, say: Say) -> list[tuple[str, str]]:
    """What may become of the account, and how that is called."""
    called = {
        "suspend": say("Suspend"),
        "resume": say("Open again"),
        "terminate": say("Terminate"),
        "delete": say("Mark for deletion"),
        "restore": say("Restore"),
    }
    possible = POSSIBLE[account.status] if account.role == "customer" else ()
    return [(name, called[name]) for name in possible]


def account_of(request: Request) -> int:
    """The number in the page's path. Raises NothingHere."""
    found = number(request.path_params["account_id"])
    if found is None:
        raise NothingHere
    return found
