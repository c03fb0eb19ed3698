"""Passkeys in a real Chromium, whose authenticator is a virtual one (WebDriver's, of WebAuthn, section 11)."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.sample import EMAIL, PASSWORD
from tests.browser.screenshots import sign_in
from tests.browser.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip
HERE = "/account/second-factor"


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    context = browser.new_context(base_url=served.url)
    yield context.new_page()
    context.close()


def with_authenticator(page: Page) -> tuple[CDPSession, str]:
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return session, made["authenticatorId"]


def unlock(authenticator: tuple[CDPSession, str], *, right: bool) -> None:
    session, name = authenticator
    session.send("WebAuthn.setUserVerified", {"authenticatorId": name, "isUserVerified": right})


def test_a_passkey_is_added_signs_in_proves_and_is_removed(page: Page, served: Served) -> None:
    authenticator = with_authenticator(page)
    sign_in(page, served)
    page.goto(HERE)
    add(page, "My telephone")
    expect(page.locator("h1")).to_have_text("Recovery codes")

    page.click("text=Sign out")
    page.goto("/sign-in?next=/keys")
    page.click("text=Sign in with a passkey")
    page.wait_for_url("**/keys")

    page.click("text=Sign out")
    page.goto("/sign-in")
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Your second factor")
    unlock(authenticator, right=False)
    page.click("text=Use a passkey instead")
    expect(page.locator("#passkey-problem")).to_have_text("That did not work. Please try again.")
    unlock(authenticator, right=True)
    page.click("text=Use a passkey instead")
    page.wait_for_url("**/dashboard")

    page.goto(HERE)
    expect(page.locator("main li strong")).to_have_text("My telephone")
    add(page, "A second one on the same telephone", wrong=True)
    page.click("summary:text-is('Remove')")
    page.fill("li [name=password]", PASSWORD)
    page.click("li >> text=Use a passkey instead")
    expect(page.locator("main li strong")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("your password alone opens nothing")


def add(page: Page, name: str, *, wrong: bool = False) -> None:
    page.fill("#passkey-name", name)
    page.fill("#passkey-password", "wrong" if wrong else PASSWORD)
    if wrong:
        page.click("form[data-passkey-add] >> text=Use a passkey instead")
        expect(page.locator("#passkey-problem")).to_have_text("The password is not right.")
    else:
        page.click("text=Add a passkey")
