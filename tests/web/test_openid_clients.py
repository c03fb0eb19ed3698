"""The sign-on by clients that others wrote. openid-client, which LibreChat uses, runs by ``make clients``."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from appliance import secrets
from appliance.identity.openid.signing import SIGNS
from tests.web.chatting import CALLBACK
from tests.web.conftest import ADDRESS, CHAT, Browser, House
from tests.web.openid_clients import Authlib, NotTaken, OpenIdClient, SignedOn, node_client
from tests.web.test_closed import account_of


@pytest.fixture(params=["authlib", pytest.param("openid-client", marks=pytest.mark.npm)])
async def client(house: House, request: pytest.FixtureRequest) -> AsyncIterator[OpenIdClient]:
    if request.param == "authlib":
        secret = secrets.read_chat(house.settings.secrets).client_secret
        yield Authlib(secret, ADDRESS, CALLBACK, house.clock, httpx2.ASGITransport(house.site.app))
        return
    async with node_client(house) as node:
        yield node


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    return browser


async def signed_on(client: OpenIdClient, ada: Browser, **more: str) -> SignedOn:
    return await client.redeem((await ada.get(await client.ask(**more))).url)


async def test_signing_on_refreshing_and_signing_out(client: OpenIdClient, ada: Browser) -> None:
    made = await signed_on(client, ada)
    about = await client.userinfo(made.access, made.claims["sub"])
    assert (about["name"], about["email"]) == ("Ada", "ada@example.com")
    assert made.claims["email"] == "ada@example.com"
    again = await client.refresh(made.refresh)
    assert again.claims["sub"] == made.claims["sub"]
    assert again.refresh != made.refresh
    there = await ada.get(await client.end(again.id, f"{CHAT}/login"))
    assert there.url == f"{CHAT}/login"
    assert (await ada.get("/dashboard")).path == "/sign-in"
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.refresh(again.refresh)
    with pytest.raises(NotTaken):
        await client.userinfo(again.access, again.claims["sub"])


async def test_no_address_but_the_chats(client: OpenIdClient, ada: Browser) -> None:
    shown = await ada.get(await client.ask(redirect_uri="https://evil.example/oauth/openid/callback"))
    assert (shown.status, shown.path) == (400, "/openid/authorize")
    made = await signed_on(client, ada)
    gone = await ada.get(await client.end(made.id, "https://evil.example/login"))
    assert (gone.status, gone.path) == (200, "/openid/end-session")


async def test_a_code_that_comes_twice_ends_all(client: OpenIdClient, ada: Browser) -> None:
    callback = (await ada.get(await client.ask())).url
    made = await client.redeem(callback)
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.redeem(callback)
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.refresh(made.refresh)


async def test_a_code_that_is_late_or_of_another_verifier(client: OpenIdClient, ada: Browser) -> None:
    callback = (await ada.get(await client.ask())).url
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.redeem(callback, verifier="x" * 43)
    callback = (await ada.get(await client.ask())).url
    ada.house.clock.turn(seconds=60)
    await client.look_at_the_clock()
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.redeem(callback)


async def test_a_new_key_is_taken_without_a_word(client: OpenIdClient, ada: Browser) -> None:
    first = await signed_on(client, ada)
    ada.house.clock.turn(seconds=SIGNS.total_seconds() + 60)
    await client.look_at_the_clock()
    await ada.sign_in()
    made = await signed_on(client, ada)
    assert made.claims["sub"] == first.claims["sub"]
    assert made.id.split(".")[0] != first.id.split(".")[0]


async def test_a_wrong_secret(client: OpenIdClient, ada: Browser) -> None:
    made = await signed_on(client, ada)
    await client.use_secret("0" * 64)
    with pytest.raises(NotTaken, match="invalid_client"):
        await client.refresh(made.refresh)


async def test_a_suspended_account_and_a_session_that_ended(client: OpenIdClient, ada: Browser) -> None:
    made = await signed_on(client, ada)
    number = await account_of(ada.house)
    await ada.house.standings().suspend(number, "operator", "a reason")
    assert (await ada.get(await client.ask())).path == "/standing"
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.refresh(made.refresh)
    await ada.house.standings().resume(number, "operator", "a reason")
    made = await signed_on(client, ada)
    await ada.post("/sign-out")
    with pytest.raises(NotTaken, match="invalid_grant"):
        await client.refresh(made.refresh)
