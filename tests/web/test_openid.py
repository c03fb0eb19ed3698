"""Signing on to the chat: who gets there, what the chat is told, and what ends it."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from io import BytesIO
from urllib.parse import urlencode
from zipfile import ZipFile

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import func, select

from appliance.identity import retention
from appliance.identity.ending import end_everybodys_sessions
from appliance.identity.openid import tokens
from appliance.identity.openid.provider import AGAIN_WITHIN
from appliance.identity.openid.tables import openid_grant
from billing.customers.keys import list_keys
from billing.database.purposes import CHAT as CHAT_KEY
from tests.web.chatting import CALLBACK, Chat, came_back, claims_of
from tests.web.conftest import ADDRESS, CHAT, PASSWORD, Browser, House, Page
from tests.web.test_closed import account_of


async def chat_is_good(house: House, email: str = "ada@example.com") -> bool:
    """Whether the account's chat key opens the API."""
    async with house.database.begin() as connection:
        keys = await list_keys(connection, await account_of(house, email))
    return any(key.purpose == CHAT_KEY and key.is_good(house.clock()) for key in keys)


async def signed_on(house: House) -> tuple[Browser, Chat, dict[str, str]]:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    return ada, chat, await chat.sign_on(ada)


async def test_whoever_is_signed_in_is_in_the_chat_without_a_question(house: House) -> None:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    link = re.search('href="(https://chat[^"]*)"', (await ada.get("/dashboard")).text)
    assert link is not None
    assert link[1] == f"{CHAT}/oauth/openid"
    told = came_back(await ada.get(chat.asks()))
    assert (told["state"], told["iss"]) == ("the state", ADDRESS)
    answer = await chat.redeem(told["code"])
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert (made["token_type"], made["expires_in"]) == ("Bearer", 300)
    about = claims_of(made["id_token"])
    known = await chat.userinfo(made["access_token"])
    who = {"name": "Ada", "email": "ada@example.com", "email_verified": True}
    assert who.items() <= known.json().items()
    assert who.items() <= about.items()
    assert (about["iss"], about["aud"], about["nonce"]) == (ADDRESS, "librechat", "the nonce")
    assert about["exp"] - about["iat"] == 300
    assert about["sub"] == known.json()["sub"]
    assert str(await account_of(house)) not in about["sub"].split("-")
    assert await chat_is_good(house)
    assert "and the chat" in (await ada.get("/account")).words


async def test_whoever_is_not_signs_in_at_the_site_with_the_second_factor_and_goes_on(house: House) -> None:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    totp, _ = await ada.second_factor()
    await ada.post("/sign-out")
    shown = await ada.get(chat.asks())
    assert shown.path == "/sign-in"
    half = await ada.sign_in(then=shown.field("next"))
    assert half.path == "/second-factor"
    assert came_back_not(await ada.get(chat.asks(prompt="none")))["error"] == "login_required"
    house.clock.turn(minutes=1)
    there = await ada.post("/second-factor", {"code": totp.at(house.clock()), "next": half.field("next")})
    assert (await chat.redeem(came_back(there)["code"])).status_code == 200


def came_back_not(page: Page) -> dict[str, str]:
    """What the chat is told instead of a code."""
    told = came_back(page)
    assert "code" not in told
    return told


async def test_a_suspended_account_is_told_why_and_does_not_get_there(house: House) -> None:
    ada, chat, made = await signed_on(house)
    await house.standings().suspend(await account_of(house), "operator", "the key was shared")
    assert (await ada.get(chat.asks())).title == "Your account is suspended"
    assert came_back_not(await ada.get(chat.asks(prompt="none")))["error"] == "interaction_required"
    assert (await chat.userinfo(made["access_token"])).status_code == 401
    assert (await chat.refresh(made["refresh_token"])).json()["error"] == "invalid_grant"
    assert not await chat_is_good(house)


async def test_new_terms_come_before_the_chat(house: House) -> None:
    ada, _, made = await signed_on(house)
    later = house.with_terms("2099-01-31")
    chat, again = Chat(later), later.browser()
    again.client.cookies = ada.client.cookies
    assert (await chat.refresh(made["refresh_token"])).status_code == 400
    shown = await again.get(chat.asks())
    assert shown.title == "The terms have changed"
    there = await again.post("/terms/accept", {"terms": "2099-01-31", "next": shown.field("next")})
    assert (await chat.redeem(came_back(there)["code"])).status_code == 200


async def test_refresh_tokens_rotate_and_one_that_comes_again_later_ends_all(house: House) -> None:
    _, chat, first = await signed_on(house)
    second = (await chat.refresh(first["refresh_token"])).json()
    same = (await chat.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] == same["refresh_token"] != first["refresh_token"]
    assert "nonce" not in claims_of(second["id_token"])
    assert claims_of(second["id_token"])["sub"] == claims_of(first["id_token"])["sub"]
    house.clock.turn(seconds=AGAIN_WITHIN.total_seconds() + 1)
    refused = await chat.refresh(first["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await chat.refresh(second["refresh_token"])).status_code == 400
    assert (await chat.userinfo(second["access_token"])).status_code == 401
    assert not await chat_is_good(house)


async def test_the_chat_key_lasts_as_long_as_the_chat_asks_for_new_tokens(house: House) -> None:
    _, chat, made = await signed_on(house)
    for _ in range(3):
        house.clock.turn(minutes=50)
        made = (await chat.refresh(made["refresh_token"])).json()
        assert await chat_is_good(house)
    house.clock.turn(minutes=60)
    assert not await chat_is_good(house)
    assert (await chat.refresh(made["refresh_token"])).status_code == 200


async def test_a_browser_whose_session_is_nearly_over_leaves_the_key_to_the_others(house: House) -> None:
    ada, chat, made = await signed_on(house)
    for _ in range(4):
        house.clock.turn(days=6)
        await ada.get("/dashboard")
    house.clock.turn(days=5, hours=23, minutes=50)
    phone = house.browser("198.51.100.1")
    await phone.sign_in()
    await chat.sign_on(phone)
    assert (await chat.refresh(made["refresh_token"])).status_code == 200
    house.clock.turn(minutes=15)
    assert await chat_is_good(house)


async def test_a_code_is_good_once_for_a_minute_and_for_its_verifier_alone(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    code = await chat.code(ada)
    made = (await chat.redeem(code)).json()
    assert (await chat.redeem(code)).json()["error"] == "invalid_grant"
    assert (await chat.refresh(made["refresh_token"])).status_code == 400
    assert not await chat_is_good(house)
    code = await chat.code(ada)
    house.clock.turn(seconds=60)
    assert (await chat.redeem(code)).status_code == 400
    for wrong in ({"code_verifier": "x" * 43}, {"redirect_uri": f"{CALLBACK}/"}, {"code_verifier": ""}):
        code = await chat.code(ada)
        assert (await chat.redeem(code, **wrong)).status_code == 400
        assert (await chat.redeem(code)).status_code == 400


async def test_a_code_is_of_the_session_in_which_it_was_asked_for(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    code = await chat.code(ada)
    await ada.post("/sign-out")
    assert (await chat.redeem(code)).status_code == 400
    assert not await chat_is_good(house)


async def sign_out(ada: Browser) -> None:
    await ada.post("/sign-out")


async def end_from_elsewhere(ada: Browser) -> None:
    phone = ada.house.browser("198.51.100.1")
    await phone.sign_in()
    (other,) = re.findall('name="session" value="([0-9]+)"', (await phone.get("/account")).text)
    await phone.post("/account/sessions", {"session": other})


async def new_password(ada: Browser) -> None:
    await ada.post("/account/password", {"old": PASSWORD, "new": "another long horse battery"})


async def closed(ada: Browser) -> None:
    await ada.post("/account/delete", {"password": PASSWORD})


async def suspended_by_the_operator(ada: Browser) -> None:
    operator = ada.house.browser("198.51.100.1")
    await operator.become_operator()
    form = {"move": "suspend", "reason": "the key was shared"}
    await operator.post(f"/console/customers/{await account_of(ada.house)}/standing", form)


async def second_factor(ada: Browser) -> None:
    await ada.second_factor()


async def everybody_is_signed_out(ada: Browser) -> None:
    async with ada.house.database.begin() as connection:
        await end_everybodys_sessions(connection, "operator", "a reason", ada.house.clock)


ENDS = (
    sign_out,
    end_from_elsewhere,
    new_password,
    second_factor,
    closed,
    suspended_by_the_operator,
    everybody_is_signed_out,
)


@pytest.mark.parametrize("ends", ENDS)
async def test_what_ends_the_session_ends_the_chat(
    house: House, ends: Callable[[Browser], Awaitable[None]]
) -> None:
    ada, chat, made = await signed_on(house)
    await ends(ada)
    assert (await chat.refresh(made["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await chat.userinfo(made["access_token"])).status_code == 401
    assert not await chat_is_good(house)


async def test_a_session_that_nobody_used_for_too_long_has_no_chat_either(house: House) -> None:
    _, chat, made = await signed_on(house)
    for _ in range(6):
        house.clock.turn(days=1)
        made = (await chat.refresh(made["refresh_token"])).json()
    house.clock.turn(days=1)
    assert (await chat.refresh(made["refresh_token"])).status_code == 400


async def test_a_sign_on_of_a_browser_that_nobody_uses_keeps_no_key_good(house: House) -> None:
    _, chat, _ = await signed_on(house)
    phone = house.browser("198.51.100.1")
    house.clock.turn(days=6)
    await phone.sign_in()
    house.clock.turn(days=2)
    await chat.sign_on(phone)
    assert await chat_is_good(house)
    await phone.post("/sign-out")
    assert not await chat_is_good(house)


async def test_signing_out_in_one_browser_leaves_the_chat_of_the_other(house: House) -> None:
    ada, chat, made = await signed_on(house)
    phone = house.browser("198.51.100.1")
    await phone.sign_in()
    other = await chat.sign_on(phone)
    await ada.post("/sign-out")
    assert (await chat.refresh(made["refresh_token"])).status_code == 400
    assert (await chat.refresh(other["refresh_token"])).status_code == 200
    assert await chat_is_good(house)


async def test_signing_out_in_the_chat_signs_out_here_too(house: House) -> None:
    ada, chat, made = await signed_on(house)
    house.clock.turn(hours=1)
    asked = {"post_logout_redirect_uri": f"{CHAT}/login", "id_token_hint": made["id_token"], "state": "s"}
    there = await ada.get(f"/openid/end-session?{urlencode(asked)}")
    assert there.url == f"{CHAT}/login?state=s"
    assert (await ada.get("/dashboard")).path == "/sign-in"
    assert (await chat.refresh(made["refresh_token"])).status_code == 400
    assert not await chat_is_good(house)


async def test_nobody_is_signed_out_by_a_page_of_somebody_else(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    eve = house.browser("198.51.100.1")
    await eve.sign_up("eve@example.com", "Eve")
    hers = await chat.sign_on(eve)
    for hint in ("", hers["id_token"], hers["access_token"], "nonsense"):
        asked = {"post_logout_redirect_uri": "https://evil.example/login", "id_token_hint": hint}
        shown = await ada.get(f"/openid/end-session?{urlencode(asked)}")
        assert shown.title == "Sign out?"
        assert (await ada.get("/dashboard")).path == "/dashboard"
    asked = {"uri": shown.field("uri"), "state": ""}
    assert (await ada.post("/openid/end-session", asked, fetched="cross-site")).status == 403
    gone = await ada.post("/openid/end-session", asked)
    assert (gone.title, gone.path) == ("You are signed out", "/openid/end-session")
    assert (await ada.get("/dashboard")).path == "/sign-in"


async def test_nobody_is_sent_to_an_address_that_is_not_the_chats(house: House) -> None:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    others = ("https://evil.example/oauth/openid/callback", f"{CALLBACK}/", f"{CALLBACK}?x=1", CALLBACK.upper())
    wrong: list[dict[str, str | None]] = [
        *({"redirect_uri": other} for other in (*others, CALLBACK.replace("https", "http"), f"{CALLBACK}#", None)),
        *({"client_id": other} for other in ("somebody", None)),
        {"state": "x" * 5000},
    ]
    asked = [chat.asks(**changes) for changes in wrong] + [f"{chat.asks()}&redirect_uri=https://evil.example"]
    for one in (*asked, "/openid/authorize", "/openid/authorize?request=e30", "/openid/authorize?request=%00"):
        shown = await ada.get(one)
        assert (shown.status, shown.title) == (400, "You cannot be signed on"), one
        assert shown.url.startswith(ADDRESS), one


@pytest.mark.parametrize("since", ["-62135596800", "0", "99999999999999999999", "-1"])
async def test_nobody_comes_again_from_a_time_that_cannot_be(house: House, since: str) -> None:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    told = f"{since}:{chat.asks(max_age='1').partition('?')[2]}".encode()
    kept = base64.urlsafe_b64encode(told).decode().rstrip("=")
    shown = await ada.get(f"/openid/authorize?request={kept}")
    assert (shown.status, shown.title) == (400, "You cannot be signed on")


NOT_DONE: Mapping[str, Sequence[Mapping[str, str | None]]] = {
    "unsupported_response_type": [{"response_type": "token"}, {"response_type": None}],
    "invalid_scope": [{"scope": "profile"}, {"scope": None}],
    "request_not_supported": [{"request": "e30"}],
    "request_uri_not_supported": [{"request_uri": "https://evil.example"}],
    "invalid_request": [
        {"response_mode": "fragment"},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"prompt": "none login"},
        {"prompt": "create"},
        {"max_age": "soon"},
    ],
}


async def test_what_is_not_done_is_said_to_the_chat(house: House) -> None:
    ada, chat = house.browser(), Chat(house)
    await ada.sign_up()
    for error, asked in NOT_DONE.items():
        for changes in asked:
            told = came_back_not(await ada.get(chat.asks(**changes)))
            assert (told["error"], told["state"], told["iss"]) == (error, "the state", ADDRESS), changes


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "60"}])
async def test_the_chat_can_have_somebody_sign_in_anew(house: House, changes: dict[str, str]) -> None:
    ada, chat, first = await signed_on(house)
    house.clock.turn(minutes=2)
    assert came_back_not(await ada.get(chat.asks(**changes | {"prompt": "none", "max_age": "60"})))["error"] == (
        "login_required"
    )
    shown = await ada.get(chat.asks(**changes))
    assert shown.path == "/sign-in"
    there = await ada.sign_in(then=shown.field("next"))
    made = (await chat.redeem(came_back(there)["code"])).json()
    ago = claims_of(made["id_token"])["auth_time"] - claims_of(first["id_token"])["auth_time"]
    assert ago >= timedelta(minutes=2).total_seconds()


async def test_a_wrong_secret_opens_nothing(house: House) -> None:
    ada, chat, made = await signed_on(house)
    code = await chat.code(ada)
    right, chat.secret = chat.secret, "0" * 64
    refused = await chat.redeem(code)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert (await chat.refresh(made["refresh_token"])).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"], "client_id": "librechat"}
    assert (await chat.client.post("/openid/token", data=form)).status_code == 401
    posted = await chat.client.post("/openid/token", data=form | {"client_secret": right})
    assert posted.status_code == 200


async def test_one_token_does_not_pass_for_another(house: House) -> None:
    _, chat, made = await signed_on(house)
    for wrong in (made["id_token"], made["refresh_token"], made["access_token"][:-3] + "AAA", "", "x.y.z"):
        refused = await chat.userinfo(wrong)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert (await chat.refresh(made["access_token"])).status_code == 400
    house.clock.turn(seconds=tokens.LAST.total_seconds())
    assert (await chat.userinfo(made["access_token"])).status_code == 401


async def test_nothing_that_opens_a_door_is_in_a_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "appliance")
    ada, chat, made = await signed_on(house)
    code = await chat.code(ada)
    await chat.redeem(code, code_verifier="wrong")
    again = (await chat.refresh(made["refresh_token"])).json()
    await chat.redeem(code)
    await ada.get(f"/openid/end-session?{urlencode({'id_token_hint': again['id_token']})}")
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "event=chat-signed-on" in logged
    for secret in (code, chat.verifier, chat.secret, "ada@example.com", *made.values(), *again.values()):
        if isinstance(secret, str) and secret not in ("Bearer", made["scope"]):
            assert secret not in logged


async def test_what_nobody_used_is_forgotten(house: House) -> None:
    ada, chat, made = await signed_on(house)
    await chat.code(ada)
    assert await grants(house) == 2
    house.clock.turn(seconds=60)
    async with house.database.begin() as connection:
        await retention.forget(connection, house.clock())
    assert await grants(house) == 1
    await chat.sign_on(ada)
    assert await grants(house) == 1
    assert (await chat.refresh(made["refresh_token"])).status_code == 400


async def grants(house: House) -> int:
    async with house.database.begin() as connection:
        counted = await connection.execute(select(func.count()).select_from(openid_grant))
        return int(counted.scalar_one())


async def test_where_there_is_no_chat_there_is_no_sign_on(house: House) -> None:
    without = house.without_chat()
    ada, chat = without.browser(), Chat(without)
    await ada.sign_up()
    assert (await ada.get(chat.asks())).status == 404
    assert (await chat.client.get("/.well-known/openid-configuration")).status_code == 404
    assert "chat" not in (await ada.get("/dashboard")).text.lower()


async def test_no_other_grant_is_given(house: House) -> None:
    await house.browser().sign_up()
    chat = Chat(house)
    asked = [{"grant_type": "client_credentials"}, {"grant_type": "implicit"}, {"grant_type": ""}]
    asked.append({"grant_type": "password", "username": "ada@example.com", "password": PASSWORD})
    for form in asked:
        refused = await chat.token(**form)
        assert (refused.status_code, refused.json()) == (400, {"error": "unsupported_grant_type"})


async def test_a_token_of_somebody_elses_key_or_of_none_is_none(house: House) -> None:
    _, chat, made = await signed_on(house)
    head, body, _ = made["access_token"].split(".")
    kid = jws.extract_compact(made["access_token"].encode()).headers()["kid"]
    forged = RSAKey.generate_key(2048, {"kid": kid})
    about = {"alg": "RS256", "typ": "at+jwt", "kid": kid}
    taken = jwt.encode({**about, "jwk": forged.as_dict(private=False)}, claims_of(made["access_token"]), forged)
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    public = (await chat.client.get("/openid/keys")).text.encode()
    secret = OctKey.import_key(public)
    mac = jwt.encode({**about, "alg": "HS256"}, claims_of(made["access_token"]), secret)
    for wrong in (taken, f"{none}.{body}.", f"{head}.{body}.", mac):
        assert (await chat.userinfo(wrong)).status_code == 401
    assert (await chat.userinfo(made["access_token"])).status_code == 200


async def test_tokens_go_on_to_count_when_the_key_that_signs_is_another(house: House) -> None:
    ada, chat, made = await signed_on(house)
    house.clock.turn(days=29, hours=23, minutes=58)
    await ada.sign_in()
    old = await chat.sign_on(ada)
    house.clock.turn(minutes=3)
    new = (await chat.refresh(old["refresh_token"])).json()
    kids = [jws.extract_compact(one["access_token"].encode()).headers()["kid"] for one in (made, old, new)]
    assert kids[0] == kids[1] != kids[2]
    assert {one["kid"] for one in (await chat.client.get("/openid/keys")).json()["keys"]} == set(kids)
    for one in (old, new):
        assert (await chat.userinfo(one["access_token"])).status_code == 200


async def test_a_sign_on_is_in_the_download_without_what_opens_it_and_goes_with_the_account(house: House) -> None:
    ada, _, made = await signed_on(house)
    answer = await ada.at(house.without_chat()).client.get("/account/data")
    with ZipFile(BytesIO(answer.content)) as archive:
        document = json.loads(archive.read("account.json"))
    (kept,) = document["chat"]
    assert kept["scope"] == "openid profile email"
    assert not {"digest", "challenge", "nonce"} & set(kept)
    assert document["person"][0]["subject"] == claims_of(made["id_token"])["sub"]
    await ada.post("/account/delete", {"password": PASSWORD})
    house.clock.turn(days=30)
    await house.standings().delete(await account_of(house), "appliance")
    async with house.database.begin() as connection:
        await retention.forget(connection, house.clock())
    assert await grants(house) == 0


async def test_somebody_who_asks_for_a_refresh_and_is_signed_out_meanwhile_has_nothing(house: House) -> None:
    ada, chat, made = await signed_on(house)
    for _ in range(5):
        refreshed, _ = await asyncio.gather(chat.refresh(made["refresh_token"]), ada.post("/sign-out"))
        assert refreshed.status_code in (200, 400)
        assert not await chat_is_good(house)
        if refreshed.status_code == 200:
            assert (await chat.refresh(refreshed.json()["refresh_token"])).status_code == 400
        await ada.sign_in()
        made = await chat.sign_on(ada)


async def test_of_a_code_that_is_used_at_the_same_time_nothing_is_left(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    code = await chat.code(ada)
    answers = await asyncio.gather(*(chat.redeem(code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    (made,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await chat.refresh(made["refresh_token"])).status_code == 400


async def test_tabs_that_refresh_at_the_same_time_stay_signed_on(house: House) -> None:
    _, chat, made = await signed_on(house)
    answers = await asyncio.gather(*(chat.refresh(made["refresh_token"]) for _ in range(4)))
    (newest,) = {answer.json()["refresh_token"] for answer in answers}
    house.clock.turn(minutes=5)
    assert (await chat.refresh(newest)).status_code == 200
