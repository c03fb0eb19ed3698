"""The way to the chat and back in a real browser: its rule on forms holds for the redirects after them too."""

from urllib.parse import parse_qs, urlencode, urlparse

import pytest
from playwright.sync_api import Browser, expect

from appliance.identity.openid.provider import challenge_of
from tests.browser.sample import EMAIL, PASSWORD
from tests.browser.served import CHAT, Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CALLBACK = f"{CHAT}/oauth/openid/callback"


def test_a_sign_in_leads_on_to_the_chat_and_a_sign_out_back_to_it(browser: Browser, served: Served) -> None:
    context = browser.new_context(base_url=served.url)
    page = context.new_page()
    page.route(f"{CHAT}/**", lambda route: route.fulfill(content_type="text/html", body="<h1>The chat</h1>"))
    asked = {
        "client_id": "librechat", "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid",
        "state": "s", "code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256",
    }  # fmt: skip
    page.goto(f"/openid/authorize?{urlencode(asked)}")
    expect(page.locator("h1")).to_have_text("Sign in")
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button >> nth=0")
    expect(page.locator("h1")).to_have_text("The chat")
    told = parse_qs(urlparse(page.url).query)
    assert page.url.startswith(f"{CALLBACK}?")
    assert told["state"] == ["s"]
    page.goto("/dashboard")
    assert page.get_by_role("link", name="Chat", exact=True).get_attribute("href") == f"{CHAT}/oauth/openid"
    page.goto(f"/openid/end-session?{urlencode({'post_logout_redirect_uri': f'{CHAT}/login'})}")
    expect(page.locator("h1")).to_have_text("Sign out?")
    page.click("main button")
    expect(page.locator("h1")).to_have_text("The chat")
    assert page.url == f"{CHAT}/login"
    page.goto("/dashboard")
    expect(page.locator("h1")).to_have_text("Sign in")
    context.close()
