"""The only wiring of the site: settings in, ASGI application out."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from appliance import secrets
from appliance.bootstrap import OPERATOR
from appliance.console.activity import ActivityPages
from appliance.console.agreements import AgreementPages
from appliance.console.billing import CustomerBillingPages
from appliance.console.customers import CustomerPages
from appliance.console.inbox import InboxPages
from appliance.console.overview import OverviewPages
from appliance.console.payments import PaymentPages
from appliance.console.rates import RatePages
from appliance.console.review import ReviewPages
from appliance.console.sales import SalesPages
from appliance.door.asgi import App, Message, Receive, Send
from appliance.identity.credentials import Credentials
from appliance.identity.devices import Devices
from appliance.identity.entering import Entering
from appliance.identity.errors import TooManyTries
from appliance.identity.first import First
from appliance.identity.joining import Joining
from appliance.identity.openid.client import Client
from appliance.identity.openid.provider import OpenIdProvider
from appliance.identity.origin import Origin
from appliance.identity.passkeys import Passkeys
from appliance.identity.passwords import OWASP, Cost, Passwords
from appliance.identity.places import open_places
from appliance.identity.proofs import Authenticators, Proofs
from appliance.identity.second import SecondFactor
from appliance.identity.sessions import Signed
from appliance.identity.throttle import Throttle
from appliance.inbox.messages import Inbox
from appliance.librechat.data import open_chat
from appliance.papers.papers import Papers
from appliance.settings import Settings
from appliance.site.audience import Audience, refusal
from appliance.site.forms import BadForm
from appliance.site.guard import Guard
from appliance.site.pages import NothingHere, Pages, audiences
from appliance.site.rendering import Render, Renderer
from appliance.site.static import Static
from appliance.site.visitor import Visitor, Visitors, accepted
from appliance.texts import speaker
from appliance.till import Till, open_till
from appliance.web.account import AccountPages
from appliance.web.buyer import BuyerPages
from appliance.web.buying import BuyingPages
from appliance.web.contact import ContactPages
from appliance.web.credit import CreditPage
from appliance.web.dashboard import DashboardPages
from appliance.web.data import DataPages
from appliance.web.documents import DocumentPages
from appliance.web.entering import EnteringPages
from appliance.web.front import FrontPages
from appliance.web.guide import GuidePages
from appliance.web.joining import JoiningPages
from appliance.web.keys import KeyPages
from appliance.web.legal import read_legal_texts
from appliance.web.metrics import SiteMetrics
from appliance.web.openid import OpenIdPages
from appliance.web.openid_endpoints import OpenIdEndpoints
from appliance.web.ordering import Ordering
from appliance.web.plans import PlanPages
from appliance.web.playground import PlaygroundPages
from appliance.web.refunding import RefundPages
from appliance.web.security import SecurityPages
from appliance.web.standing import StandingPages
from appliance.web.stripe import StripeWebhook
from appliance.web.topping_up import TopUpPages
from billing.clock import Clock, system_clock
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.errors import BillingError, DatabaseUnavailable
from billing.ledger.credit import Credit
from billing.payments.provider import PaymentsUnavailable, Provider
from billing.store.postgres import PostgresStore
from serving.catalog.declared import Declared
from serving.client.published import Directory

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
CONSOLE, PAPERS = (HERE.parent / room / "templates" for room in ("console", "papers"))
RETRY_SECONDS = 5
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Site:
    """``pages`` is the application within ``app``, without what stands before it; it closes ``database``."""

    app: App
    pages: FastAPI
    database: Database


def site_app(
    settings: Settings,
    metrics: SiteMetrics,
    clock: Clock = system_clock,
    cost: Cost = OWASP,
    provider: Provider | None = None,
) -> Site:
    """``cost`` is of a hash. Without ``provider`` nothing is sold. Raises SettingsError, SecretsError."""
    pepper = secrets.read(settings.secrets).key_pepper
    legal, declared = read_legal_texts(settings), Declared(settings.declared)
    directory = Directory(settings.directory)
    static = Static(HERE / "static", {"theme.css": _theme(settings.site.accent)})
    render = Renderer(settings, static, HERE / "templates", CONSOLE, PAPERS).page
    database = Database(settings.sqlalchemy_url, application_name="appliance-site", pool_size=8)
    chat = open_chat(settings)
    passwords = Passwords(cost, context=settings.site.words)
    throttle, devices, authenticators = Throttle(pepper), Devices(pepper), Authenticators(pepper)
    passkeys = Passkeys(settings.site_url, settings.site.name, throttle, pepper)
    proofs = Proofs(database, throttle, authenticators, passkeys)
    credentials = Credentials(database, passwords, proofs, throttle, devices, clock)
    second = SecondFactor(database, credentials, proofs, authenticators, passkeys, clock)
    first = First(database, passwords, throttle, pepper, OPERATOR, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await database.close()
        if chat is not None:
            await chat.close()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    pages = Pages(Visitors(database, clock), legal.terms.version)
    store = PostgresStore(database)
    standings = Standings(store, clock)
    inbox = Inbox(database, throttle, standings, settings.site.contact, clock)
    places = open_places(settings.places)
    entering = Entering(database, passwords, passkeys, throttle, devices, places, clock)
    joining = Joining(database, passwords, throttle, clock, invited=settings.site.sign_up == "invitation")
    sold = None if provider is None else open_till(settings, provider, database, clock)
    sign_on = _sign_on(settings, database, legal.terms.version, pepper, clock)
    papers, ordering = Papers(settings.site.accent), Ordering(database, throttle, clock)
    for room in (
        FrontPages(render, legal, settings, declared, database, clock),
        GuidePages(render, settings.api_url, declared, directory),
        JoiningPages(render, joining, first, legal, settings.site),
        EnteringPages(render, entering, credentials, second, database, clock),
        DashboardPages(render, database, clock),
        KeyPages(render, database, standings, throttle, pepper, settings, declared, clock),
        PlaygroundPages(render, database, pepper, settings, declared, clock),
        StandingPages(render, database, inbox, standings, credentials, clock),
        DataPages(render, database, throttle, chat, clock),
        ContactPages(render, inbox, settings.site.messages_days),
        ActivityPages(render, database, directory, clock),
        OverviewPages(render, database, directory, clock),
        CustomerPages(render, database, standings, Credit(store, clock), clock),
        InboxPages(render, database, inbox),
        AgreementPages(render, database, clock),
        ReviewPages(render, database, clock),
        RatePages(render, database, settings.billing.rate_notice_days, clock),
        BuyerPages(render, database, settings.taxing, clock),
        AccountPages(render, credentials, database, clock),
        SecurityPages(render, second, settings.site),
        DocumentPages(render, database, papers, sold, ordering, settings.site_url, clock),
        CustomerBillingPages(render, database, papers, sold, settings.billing.refund_days, clock),
        PaymentPages(render, database, sold),
        SalesPages(render, database, clock),
        *(() if sign_on is None else (OpenIdPages(render, sign_on, legal.terms.version, database, clock),)),
        *(() if sold is None else _shop(render, settings, sold, ordering, database, clock)),
    ):
        pages.add(room.routes())
    app.include_router(pages.router)
    audiences(app)
    _answer_errors(app, render)
    beside = _Beside(app, static, metrics)
    api, transport = settings.api_url.removesuffix("/v1"), settings.site_transport
    leads_to = [settings.checkout_origin, *(() if sign_on is None else (settings.chat.address,))]
    outside: App = Guard(beside, api, leads_to, transport)
    if sign_on is not None:
        outside = OpenIdEndpoints(outside, sign_on, metrics, transport, clock)
    if sold is not None:
        outside = StripeWebhook(outside, sold.inbox, metrics, transport)
    return Site(outside, app, database)


def _sign_on(
    settings: Settings, database: Database, terms: str, pepper: bytes, clock: Clock
) -> OpenIdProvider | None:
    """None where there is no chat. Raises SecretsError."""
    if not settings.chat.address:
        return None
    client = Client(settings.chat.address, secrets.read_chat(settings.secrets).client_secret)

    def may(signed: Signed) -> bool:
        return refusal(Audience.CUSTOMER, signed, terms) is None

    return OpenIdProvider(database, client, settings.openid_issuer, may, pepper, clock)


def _shop(
    render: Render, settings: Settings, sold: Till, ordering: Ordering, database: Database, clock: Clock
) -> tuple[CreditPage, BuyingPages, RefundPages, TopUpPages, PlanPages]:
    """The pages that are there where something is sold."""
    back, offer, days = settings.site_url, settings.payments, settings.billing.refund_days
    credit = CreditPage(render, database, sold.refunds, sold.top_ups, offer, days)
    plans, taxing = settings.plans, settings.taxing
    return (
        credit,
        BuyingPages(render, database, credit, sold.provider, sold.shop, ordering, offer, back, clock),
        RefundPages(render, database, credit, sold.refunds, ordering),
        TopUpPages(credit, sold.top_ups, ordering, back),
        PlanPages(render, database, sold.provider, sold.subscriptions, ordering, plans, taxing, back),
    )


class _Beside:
    """Answers what is no page: the files that pages are made of, and whether the process lives."""

    def __init__(self, app: App, static: Static, metrics: SiteMetrics) -> None:
        self._app = app
        self._static = static
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/livez":
            await PlainTextResponse("alive\n")(scope, receive, send)
        elif (file := self._static.find(scope["path"])) is not None and scope["method"] == "GET":
            answer = Response(file.content, media_type=file.media_type, headers={"cache-control": FOREVER})
            await answer(scope, receive, send)
        else:
            await self._measured(scope, receive, send)

    async def _measured(self, scope: Any, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.observe(status, time.perf_counter() - began)


def _theme(accent: str) -> bytes:
    return f":root {{ --accent: {accent}; }}\n".encode()


def _answer_errors(app: FastAPI, render: Any) -> None:
    """Each a page, for whoever it is: who they are is not looked up again."""

    def answer(request: Request, status: int, what: str) -> Response:
        language = accepted(request.headers.get("accept-language", ""))
        say = speaker(language)
        texts = {
            "nothing": (say("There is nothing here"), say("This page does not exist, or is not for you.")),
            "form": (say("That did not arrive whole"), say("Please go back and try again.")),
            "waits": (
                say("One moment"),
                say("Something that we need is starting again. Please try again in a moment."),
            ),
            "often": (say("One moment"), say("That was tried too often. Please wait a little.")),
            "not possible": (
                say("That is not possible now"),
                say("Nothing was changed. Please try again in a while; if it stays so, write to us."),
            ),
            "broken": (say("Something went wrong"), say("It is our fault, and has been noted. Please try again.")),
        }
        title, text = texts[what]
        visitor = Visitor(Origin("", ""), language, say, None)
        page: Response = render(visitor, "message.html", status, title=title, text=text)
        if what == "waits":
            page.headers["retry-after"] = str(RETRY_SECONDS)
        return page

    @app.exception_handler(NothingHere)
    async def nothing(request: Request, _: Exception) -> Response:
        return answer(request, 404, "nothing")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, "nothing")

    @app.exception_handler(TooManyTries)
    async def too_often(request: Request, _: Exception) -> Response:
        return answer(request, 429, "often")

    @app.exception_handler(BadForm)
    async def bad_form(request: Request, _: Exception) -> Response:
        return answer(request, 400, "form")

    @app.exception_handler(PaymentsUnavailable)
    @app.exception_handler(DatabaseUnavailable)
    async def waits(request: Request, _: Exception) -> Response:
        return answer(request, 503, "waits")

    @app.exception_handler(BillingError)
    async def not_possible(request: Request, error: Exception) -> Response:
        log.error("%s on a page", type(error).__name__)
        return answer(request, 409, "not possible")

    @app.exception_handler(Exception)
    async def broken(request: Request, _: Exception) -> Response:
        return answer(request, 500, "broken")
