"""From signing up to the first answer, and from a suspension to its end, on the stack that `up` starts."""

import asyncio
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import first_link, link_of_mail, site_url
from tests.browser.sample import PASSWORD
from tests.browser.screenshots import FOLDER, PLAYGROUND, set_up_second_factor
from tests.scenarios.nowhere import assert_nowhere
from tests.scenarios.system import System

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
EMAIL = "grace@example.com"
CANARY = "zqplayground5512"


def test_from_signing_up_to_an_answer_a_suspension_and_back(browser: Browser, page: Page, system: System) -> None:
    sign_up(page, system)
    key = make_key(page)
    answer = ask(page)
    said = [CANARY, *(line[-40:] for line in answer.splitlines() if len(line) >= 40)]
    ThreadPoolExecutor(1).submit(lambda: asyncio.run(assert_nowhere(system, *said))).result()
    assert "Paris" in answer_to_curl(page, key)
    see_the_cost(page)
    operator = become_operator(browser, system)
    act(operator, "Suspend", "the key was shared")
    refused = curl(page, key)
    assert "suspended" in refused
    page.goto("/dashboard")
    sign_in(page)
    expect(page.locator("h1")).to_have_text("Your account is suspended")
    page.fill("#text", "It was my own colleague.")
    page.click("text=Send the appeal")
    operator.goto("/console/inbox")
    expect(operator.locator(".said")).to_have_text("It was my own colleague.")
    operator.fill("textarea", "That is fine.")
    operator.click("text=Grant: open the account again")
    page.goto("/dashboard")
    expect(page.locator("h1")).to_have_text("Overview")
    assert "Paris" in answer_to_curl(page, key)


def sign_up(page: Page, system: System) -> None:
    page.goto("/")
    page.click(".hero >> text=Sign up")
    for name, value in (("name", "Grace"), ("email", EMAIL), ("password", PASSWORD)):
        page.fill(f"#{name}", value)
    page.check("#terms")
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Look into your mail")
    page.goto(link_of_mail(system, EMAIL, "/confirm"))
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Overview")
    system.appliance("credit", "grant", EMAIL, "5")
    page.click("text=Sign out")
    page.click("text=Sign in")
    sign_in(page)
    expect(page.locator("h1")).to_have_text("Overview")


def sign_in(page: Page) -> None:
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button")


def make_key(page: Page) -> str:
    page.click("nav >> text=API keys")
    page.fill("#name", "laptop")
    page.click("text=Make a key")
    expect(page.locator("h1")).to_have_text("Your new key")
    return page.inner_text("#key")


def ask(page: Page) -> str:
    """In the playground: an answer that streams, what it took, and a page that forgets; the answer."""
    page.goto("/playground")
    page.fill("#most", "60")
    page.fill("#text", "What is the capital of France?")
    page.press("#text", "Enter")
    expect(page.locator(".turn.model small")).to_contain_text("first token after")
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PLAYGROUND)
    page.fill("#text", f"My secret is {CANARY}. What is the capital of Norway?")
    page.press("#text", "Enter")
    facts = page.locator(".turn.model small").nth(1)
    expect(facts).to_have_text(re.compile(r"\d+ tokens in, \d+ out · \$0\.\d+ · first token after \d+\.\d+ s"))
    answer = "\n".join(page.locator(".turn.model p").all_inner_texts())
    assert CANARY in page.inner_text("#playground")
    page.reload()
    assert page.locator(".turn").count() == 0
    return answer


def see_the_cost(page: Page) -> None:
    page.goto("/dashboard")
    expect(page.locator("main")).to_contain_text("Playground")
    expect(page.locator("main")).to_contain_text("laptop")
    assert page.locator("section:last-of-type tbody tr").count() == 3


def become_operator(browser: Browser, system: System) -> Page:
    page = browser.new_context(base_url=site_url(system)).new_page()
    page.goto(first_link(system))
    for name, value in (("name", "Op"), ("email", "op@example.com"), ("password", PASSWORD)):
        page.fill(f"#{name}", value)
    page.click("main button")
    set_up_second_factor(page)
    expect(page.locator("h1")).to_have_text("Recovery codes")
    return page


def act(operator: Page, move: str, reason: str) -> None:
    operator.goto(f"/console/customers?search={EMAIL}")
    operator.click(f"text=· {EMAIL}")
    operator.fill("#move-reason", reason)
    operator.click(f"button:text-is('{move}')")
    expect(operator.locator(".done")).to_be_visible()


def curl(page: Page, key: str) -> str:
    """What the page with the new key says, as a shell does it."""
    page.goto("/")
    command = (
        page.inner_text("main pre").replace("$API_KEY", key).replace("Hello!", "What is the capital of France?")
    )
    command = command.replace('"messages"', '"temperature": 0, "max_tokens": 20, "messages"')
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def answer_to_curl(page: Page, key: str) -> str:
    return curl(page, key)
