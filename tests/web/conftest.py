"""The site over one database, and the people who look at it, each with a browser of their own."""

import dataclasses
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import msgspec
import pyotp
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import delete

from appliance import secrets
from appliance.bootstrap import OPERATOR
from appliance.identity.first import first_link
from appliance.identity.letters import Site as Named
from appliance.identity.passwords import Cost
from appliance.identity.places import Places
from appliance.identity.tables import authenticator
from appliance.mail import queue
from appliance.mail.letter import Letter
from appliance.news.telling import tell
from appliance.settings import ChatSettings, Settings, load_settings
from appliance.stripe_sandbox.core import Sandbox
from appliance.web.app import Site, site_app
from appliance.web.metrics import SiteMetrics
from appliance.worker.mailing import writer
from billing.customers.accounts import create_account
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.documents.vat import Taxing
from billing.payments.stripe.adapter import StripeProvider
from billing.plans.versions import publish
from billing.store.postgres import PostgresStore
from serving.catalog.declared import declare
from tests.billing.conftest import TurnedClock
from tests.identity.authenticator import SoftPasskey
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient
from tests.stripe_sandbox.inprocess import settings as sandbox_settings

ADDRESS = "https://site.example"
CHAT = "https://chat.site.example"
ACCENT = "#1f5fbf"
PASSWORD = "correct horse battery staple"
NOW = datetime(2026, 1, 31, 12, 34, 56, tzinfo=UTC)
"""When each test begins: no whole hour, as hours are counted by their beginnings."""
QUICK = Cost(passes=1, memory_kib=64, lanes=1)
"""Of a hash: no page is about what one costs."""


@dataclass
class House:
    """``site`` serves over ``database``, at the time of ``clock``, and sells by ``provider``: the ``sandbox``."""

    settings: Settings
    database: Database
    clock: TurnedClock
    site: Site
    provider: StripeProvider | None
    sandbox: Sandbox

    def browser(self, address: str = "192.0.2.17") -> "Browser":
        return Browser(self, address)

    async def letters(self) -> list[tuple[str, Letter]]:
        """All mail that the worker would send now, to whom and what."""
        written, write = [], writer(Named("Appliance", ADDRESS), Places(None), self.clock, ACCENT)
        async with self.database.begin() as connection:
            await tell(connection, self.clock())
            while (one := await queue.claim(connection, self.clock())) is not None:
                letter = await write(connection, one)
                await queue.done(connection, one)
                if letter is not None:
                    written.append((letter.to or one.email, letter))
        return written

    async def link(self, path: str) -> str:
        """The one that the newest mail with such a link has."""
        links = [letter.link[1] for _, letter in await self.letters() if letter.link is not None]
        (*_, url) = [link for link in links if urlparse(link).path == path]
        return url.removeprefix(ADDRESS)

    def with_terms(self, version: str) -> "House":
        """The same house, started again with a new version of the terms."""
        (self.settings.home / "terms.md").write_text(f"# Terms\nVersion: {version}\n\nNew ones.\n")
        return self.with_site(terms_file="terms.md")

    def with_site(self, **changes: str) -> "House":
        """The same house, started again with other settings of the site."""
        site = msgspec.structs.replace(self.settings.site, **changes)
        settings = dataclasses.replace(self.settings, site=site)
        app = site_app(settings, self.metrics(), self.clock, QUICK, self.provider)
        return dataclasses.replace(self, settings=settings, site=app)

    def with_taxing(self, taxing: Taxing) -> "House":
        """The same house, started again with other rules of value added tax."""
        settings = dataclasses.replace(self.settings, taxing=taxing)
        app = site_app(settings, self.metrics(), self.clock, QUICK, self.provider)
        return dataclasses.replace(self, settings=settings, site=app)

    def without_chat(self) -> "House":
        """The same house, started again by an operator who has none."""
        settings = dataclasses.replace(self.settings, chat=ChatSettings())
        app = site_app(settings, self.metrics(), self.clock, QUICK, self.provider)
        return dataclasses.replace(self, settings=settings, site=app)

    @staticmethod
    def metrics() -> SiteMetrics:
        return SiteMetrics(CollectorRegistry())

    def standings(self) -> Standings:
        return Standings(PostgresStore(self.database), self.clock)


@dataclass
class Page:
    status: int
    headers: httpx.Headers
    text: str
    path: str
    """Where the browser is now."""
    url: str = ""
    """The same in full: it may be in the chat, of which nothing else is there."""

    @property
    def words(self) -> str:
        """What a person reads."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())

    @property
    def title(self) -> str:
        found = re.search("<h1>(.*?)</h1>", self.text)
        return unescape(found[1]) if found else ""

    def field(self, name: str) -> str:
        found = re.search(f'name="{name}"[^>]* value="([^"]*)"', self.text)
        assert found is not None, self.words
        return unescape(found[1])


@dataclass
class Browser:
    """Keeps cookies and follows redirects; a form is sent by a page of the site if not said otherwise."""

    house: House
    address: str
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(self.house.site.app, raise_app_exceptions=False, client=(self.address, 1))
        mounts = {CHAT: httpx.MockTransport(lambda _: httpx.Response(200))}
        self.client = httpx.AsyncClient(
            transport=transport, mounts=mounts, base_url=ADDRESS, follow_redirects=True
        )
        self.client.headers["user-agent"] = "Firefox on Linux"

    def at(self, house: House) -> "Browser":
        """The same, with its cookies, when the house was started again."""
        other = Browser(house, self.address)
        other.client.cookies = self.client.cookies
        return other

    async def get(self, path: str, **headers: str) -> Page:
        return _page(
            await self.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        )

    async def post(self, path: str, form: Mapping[str, str] | None = None, fetched: str = "same-origin") -> Page:
        return _page(await self.client.post(path, data=dict(form or {}), headers={"sec-fetch-site": fetched}))

    async def sign_up(self, email: str = "ada@example.com", name: str = "Ada", password: str = PASSWORD) -> Page:
        """Until the page that comes after the link of the mail."""
        form = await self.get("/sign-up")
        terms = re.search('name="terms" value="([^"]*)"', form.text)
        assert terms is not None
        filled = {"name": name, "email": email, "password": password, "terms": terms[1]}
        answer = await self.post("/sign-up", filled)
        assert answer.status == 200, answer.words
        return await self.confirm(await self.house.link("/confirm"))

    async def confirm(self, link: str) -> Page:
        shown = await self.get(link)
        return await self.post("/confirm", {"link": shown.field("link")})

    async def sign_in(self, email: str = "ada@example.com", password: str = PASSWORD, then: str = "") -> Page:
        return await self.post("/sign-in", {"email": email, "password": password, "next": then})

    async def second_factor(self, password: str = PASSWORD) -> tuple[pyotp.TOTP, list[str]]:
        """Sets one up; the authenticator, and the recovery codes."""
        shown = await self.post("/account/second-factor/set-up", {"password": password})
        secret = re.search(r'<code class="long">([A-Z2-7]+)</code>', shown.text)
        assert secret is not None, shown.words
        totp = pyotp.TOTP(secret[1])
        begun = await self.post("/account/second-factor/begin", {"code": totp.at(self.house.clock())})
        return totp, re.findall(r"<li><code>([a-z2-7-]+)</code>", begun.text)

    async def add_passkey(self, name: str, code: str = "", password: str = PASSWORD) -> SoftPasskey:
        """As the page's script does it."""
        form, fetched = {"name": name, "password": password, "code": code}, {"sec-fetch-site": "same-origin"}
        asked = await self.client.post("/account/second-factor/new-passkey", data=form, headers=fetched)
        new = SoftPasskey(ADDRESS)
        made = await self.post("/account/second-factor/passkeys", form | {"made": new.create(asked.text)})
        assert made.status == 200, made.words
        return new

    async def second_factor_off_by_hand(self) -> None:
        """As no page lets an operator do it."""
        async with self.house.database.begin() as connection:
            await connection.execute(delete(authenticator))

    async def become_operator(self, email: str = "op@example.com") -> pyotp.TOTP:
        """By the link that `up` prints, with a second factor."""
        link = first_link(secrets.read(self.house.settings.secrets).key_pepper)
        shown = await self.get(f"/first?link={link}")
        form = {"link": shown.field("link"), "name": "Op", "email": email, "password": PASSWORD}
        taken = await self.post("/first", form)
        assert taken.path == "/account/second-factor", taken.words
        totp, _ = await self.second_factor()
        return totp


def _page(answer: httpx.Response) -> Page:
    return Page(answer.status_code, answer.headers, answer.text, answer.url.path, str(answer.url))


def token_of(link: str) -> str:
    (token,) = parse_qs(urlparse(link).query)["link"]
    return token


@pytest.fixture
def settings_more() -> str:
    """What a test adds to appliance.yaml."""
    return ""


@pytest.fixture
async def house(fresh_url: str, tmp_path: Path, settings_more: str) -> AsyncIterator[House]:
    config = tmp_path / "appliance.yaml"
    config.write_text(
        f"site: {{address: {ADDRESS}, company: Example AS, contact: help@site.example}}\n"
        "payments: {practice: true}\n"
        f"chat: {{address: {CHAT}}}\n"
        f"{settings_more}"
    )
    env = {
        "APPLIANCE_HOME": str(tmp_path), "DATABASE_URL": fresh_url, "APPLIANCE_CONFIG": str(config),
        "STRIPE_API_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET,
    }  # fmt: skip
    settings, clock = load_settings(env), TurnedClock(NOW)
    secrets.create(settings.secrets)
    settings.run.mkdir()
    declare(settings.declared, settings.models)
    database = Database(fresh_url, pool_size=4)
    async with database.begin() as connection:
        await create_account(connection, OPERATOR, "operator", clock)
        await publish(connection, settings.plans, clock)
    sandbox = Sandbox(sandbox_settings(), clock=lambda: clock().timestamp())
    provider = StripeProvider(KEY, SECRET, clock, http=InProcessClient(sandbox), tax=settings.stripe_tax)
    site = site_app(settings, House.metrics(), clock, QUICK, provider)
    yield House(settings, database, clock, site, provider, sandbox)
    await database.close()
    await site.database.close()
