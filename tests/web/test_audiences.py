"""Every page by everybody: what the application itself says of each page is what happens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI

from appliance.bootstrap import OPERATOR
from appliance.site.audience import Audience
from appliance.site.pages import audiences
from billing.documents.reading import documents_of
from tests.web.conftest import Browser, House, Page
from tests.web.shopping import account_of, paid, post_documents

EVERYBODY = ("nobody", "half", "customer", "suspended", "bare operator", "operator", "ended session")
LETS_IN: Mapping[Audience, set[str]] = {
    Audience.ANYBODY: set(EVERYBODY),
    Audience.HALF: {"half"},
    Audience.SETTING_UP: {"customer", "suspended", "bare operator", "operator"},
    Audience.PERSON: {"customer", "suspended", "operator"},
    Audience.CUSTOMER: {"customer", "operator"},
    Audience.OPERATOR: {"operator"},
}
SEND_ON = ("/sign-in", "/sign-up", "/standing", "/terms/accept")
"""To the dashboard, whoever has no business there any more."""
SIGN_OUT = ("/sign-out", "/openid/end-session")
TURNED_AWAY = ("/sign-in", "/second-factor", "/standing", "/account/second-factor", "/dashboard")


@dataclass
class People:
    house: House
    cookies: dict[str, str]
    documents: dict[str, int]
    """One of each who may read theirs."""

    def browser(self, who: str) -> Browser:
        browser = self.house.browser()
        browser.client.follow_redirects = False
        if who in self.cookies:
            browser.client.cookies.set("__Host-session", self.cookies[who], domain="site.example")
        return browser


@pytest.fixture
async def people(house: House) -> People:
    cookies, documents = {}, {}

    async def keep(who: str, browser: Browser) -> None:
        cookies[who] = browser.client.cookies["__Host-session"]

    async def has_paid(who: str, account_id: int) -> None:
        await paid(house, account_id)
        await post_documents(house)
        async with house.database.begin() as connection:
            (document,) = await documents_of(connection, account_id, 9)
        documents[who] = document.id

    for number, who in enumerate(("customer", "suspended", "half", "ended session")):
        browser = house.browser(f"198.51.{100 + number}.1")
        await browser.sign_up(f"{number}@example.com", who)
        if who == "half":
            await browser.second_factor()
            await browser.post("/sign-out")
            await browser.sign_in(f"{number}@example.com")
        await keep(who, browser)
        if who in ("customer", "suspended"):
            await has_paid(who, await account_of(house, f"{number}@example.com"))
        if who == "suspended":
            account_id = await account_of(house, f"{number}@example.com")
            await house.standings().suspend(account_id, "operator", "a reason")
        if who == "ended session":
            await browser.post("/sign-out")
    operator = house.browser()
    await operator.become_operator()
    await keep("operator", operator)
    await has_paid("operator", await account_of(house, OPERATOR))
    return People(house, cookies, documents)


async def test_every_page_lets_in_whom_it_says_and_nobody_else(house: House, people: People) -> None:
    for (method, path), audience in pages_of(house).items():
        for who in set(EVERYBODY) - {"bare operator"}:  # who has a test of his own: the account has one owner
            page = await ask(people.browser(who), method, path, people.documents.get(who, 0))
            assert was_let_in(page, path) == (who in LETS_IN[audience]), (method, path, who, page.status)


async def test_an_operator_without_a_second_factor_is_sent_to_set_one_up(house: House) -> None:
    operator = house.browser()
    await operator.become_operator()
    await operator.second_factor_off_by_hand()
    operator.client.follow_redirects = False
    for (method, path), audience in pages_of(house).items():
        page = await ask(operator, method, path)
        assert was_let_in(page, path) == ("bare operator" in LETS_IN[audience]), (method, path, page.status)


def pages_of(house: House) -> Mapping[tuple[str, str], Audience]:
    """Signing out comes last: nobody is anybody after it."""
    found = audiences(house.site.pages)
    return {one: found[one] for one in sorted(found, key=lambda one: one[1] in SIGN_OUT)}


async def ask(browser: Browser, method: str, path: str, document: int = 0) -> Page:
    """``path`` is of an account, an amount and a plan that are there, and of whoever's own ``document``."""
    path = path.format(account_id=2, document_id=document, cents=1000, plan="starter")
    return await (browser.get(path) if method == "GET" else browser.post(path, {"nothing": "of use"}))


def was_let_in(page: Page, path: str) -> bool:
    """Not sent elsewhere to become somebody else, and not told that there is nothing."""
    assert page.status < 500 or path == "/account/data", path  # whoever is let in learns that the chat is away
    if page.status == 404:
        return False
    if page.status == 303:
        there = page.headers["location"].partition("?")[0]
        return there not in TURNED_AWAY or (path in SEND_ON and there == "/dashboard")
    return page.status != 403


def test_a_page_that_says_nothing_of_its_audience_keeps_the_site_from_starting() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/quick-idea")
    async def quick_idea() -> str:
        return "hello"

    with pytest.raises(KeyError):
        audiences(app)


async def test_the_documentation_lists_every_page_with_its_audience(house: House) -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \|[^|]*\|([^|]*)\|$", Path("docs/security.md").read_text(), re.MULTILINE)
    told = {(audience, path) for audience, paths in rows for path in re.findall("`(.*?)`", paths)}
    assert told == {(audience.name, path) for (_, path), audience in audiences(house.site.pages).items()}
