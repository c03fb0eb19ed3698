"""Buying in a real browser: a form of ours leads to the page to pay on, and that one leads back."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.screenshots import sign_in
from tests.browser.served import Served, served_site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
CARD = "4242424242424242"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One of its own: what is bought here is nobody else's sample."""
    with served_site() as site:
        yield site


@pytest.fixture
def ada(browser: Browser, served: Served) -> Iterator[Page]:
    context = browser.new_context(base_url=served.url)
    page = context.new_page()
    sign_in(page, served)
    yield page
    context.close()


def test_credit_is_bought_on_the_page_to_pay_on(ada: Page) -> None:
    ada.goto("/credit")
    ada.click("text=$10")
    expect(ada.locator("h1")).to_have_text("Buy credit")
    ada.click("text=Go to payment")
    pay(ada)
    expect(ada.locator("h1")).to_have_text("Paid: your credit is there")


def test_a_dearer_plan_costs_what_was_shown(ada: Page) -> None:
    ada.goto("/plan")
    ada.click("text=Choose Team")
    shown = re.search(r"Pay (\$[0-9.]+) and change", ada.inner_text("main"))
    assert shown is not None
    ada.click(f"text={shown[0]}")
    expect(ada.locator("main")).to_contain_text("Your plan is changed.")
    ada.click("text=Cancel the plan")
    ada.click("main button")
    expect(ada.locator("main")).to_contain_text("You have cancelled.")


def test_another_card_is_saved_and_removed(ada: Page) -> None:
    ada.goto("/credit")
    ada.click("text=Another card")
    pay(ada)
    expect(ada.locator("main")).to_contain_text("Your card is saved.")
    ada.click("text=Remove")
    expect(ada.locator("main")).to_contain_text("Save a card, and credit is bought by itself")


def pay(page: Page) -> None:
    page.fill("[name=number]", CARD)
    page.click("main button")
