"""What people do on the site, from the first page to the last."""

from appliance import secrets
from appliance.identity import joining
from appliance.identity.first import first_link
from appliance.identity.letters import Site
from appliance.mail import queue
from appliance.news.letters import NewsLetters
from appliance.news.telling import notice_terms, tell
from appliance.papers.letters import PaperLetters
from appliance.papers.papers import Papers
from billing.customers.accounts import find_account
from tests.web.conftest import ACCENT, ADDRESS, PASSWORD, House


async def test_from_signing_up_to_a_key(house: House) -> None:
    ada = house.browser()
    assert (await ada.get("/")).title == "Open language models by an API"
    assert (await ada.sign_up()).path == "/dashboard"
    shown = await ada.post("/keys", {"name": "laptop"})
    assert shown.title == "Your new key"
    key = shown.text.partition('id="key">')[2].partition("<")[0]
    assert key.startswith("sk-ap-")
    listed = await ada.get("/keys")
    assert key not in listed.text
    assert f"sk-ap-…{key[-4:]}" in listed.text
    await ada.post("/keys/revoke", {"key": listed.text.partition('name="key" value="')[2].partition('"')[0]})
    assert "Keys that are good no more" in (await ada.get("/keys")).words


async def test_signing_out_ends_the_session_and_signing_in_begins_another(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    token = ada.client.cookies["__Host-session"]
    assert (await ada.post("/sign-out")).path == "/"
    ada.client.cookies.set("__Host-session", token, domain="site.example")
    assert (await ada.get("/keys")).path == "/sign-in"
    assert (await ada.sign_in(then="/keys")).path == "/keys"
    assert ada.client.cookies["__Host-session"] != token


async def test_signing_in_again_ends_the_session_that_the_browser_had(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    token = ada.client.cookies["__Host-session"]
    await ada.sign_in()
    ada.client.cookies.clear()
    ada.client.cookies.set("__Host-session", token, domain="site.example")
    assert (await ada.get("/keys")).path == "/sign-in"


async def test_a_forgotten_password_is_replaced_by_the_link_once(house: House) -> None:
    ada, other = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await other.post("/forgot", {"email": "ADA@example.com"})
    link = await house.link("/reset")
    form = {"link": (await other.get(link)).field("link"), "password": "an entirely new one of 9 words"}
    assert (await other.post("/reset", form)).title == "That is done"
    assert (await ada.get("/dashboard")).path == "/sign-in"
    assert (await other.post("/reset", form)).status == 400
    assert (await ada.sign_in()).status == 401
    assert (await ada.sign_in(password="an entirely new one of 9 words")).path == "/dashboard"


async def test_the_second_factor_is_asked_for_and_a_code_is_good_once(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    totp, codes = await ada.second_factor()
    assert len(codes) == 10
    await ada.post("/sign-out")
    assert (await ada.sign_in()).path == "/second-factor"
    assert (await ada.get("/keys")).path == "/second-factor"
    used = await ada.post("/second-factor", {"code": totp.at(house.clock())})
    assert used.status == 401
    house.clock.turn(seconds=30)
    assert (await ada.post("/second-factor", {"code": totp.at(house.clock())})).path == "/dashboard"
    await ada.post("/sign-out")
    await ada.sign_in()
    assert (await ada.post("/second-factor", {"code": codes[0]})).path == "/dashboard"


async def test_another_email_is_good_when_its_link_was_followed(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/account/email", {"email": "ada@new.example.com", "password": PASSWORD})
    assert "ada@example.com" in (await ada.get("/account")).words
    link = await house.link("/account/email")
    mallory = house.browser("198.51.100.1")
    await mallory.sign_up("mallory@example.com", "Mallory")
    token = (await mallory.get(link)).field("link")
    assert (await mallory.post("/account/email/confirm", {"link": token})).status == 400
    assert (await ada.post("/account/email/confirm", {"link": token})).path == "/account"
    assert "ada@new.example.com" in (await ada.get("/account")).words
    await ada.post("/sign-out")
    assert (await ada.sign_in("ada@new.example.com")).path == "/dashboard"


async def test_the_account_page_changes_name_language_and_password(house: House) -> None:
    ada, phone = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await phone.sign_in()
    assert "Ada King" in (await ada.post("/account/name", {"name": "Ada King"})).text
    assert (await ada.post("/account/language", {"language": "nb"})).title == "Konto"
    await ada.post("/account/language", {"language": "en"})
    wrong = await ada.post("/account/password", {"old": "no", "new": "an entirely new one of 9 words"})
    assert wrong.status == 401
    await ada.post("/account/password", {"old": PASSWORD, "new": "an entirely new one of 9 words"})
    assert (await phone.get("/dashboard")).path == "/sign-in"
    assert (await ada.get("/dashboard")).path == "/dashboard"


async def test_sessions_are_seen_and_ended(house: House) -> None:
    ada, phone = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await phone.sign_in()
    shown = await ada.get("/account")
    assert "198.51.100.0/24" in shown.words
    number = shown.text.partition('name="session" value="')[2].partition('"')[0]
    await ada.post("/account/sessions", {"session": number})
    assert (await phone.get("/dashboard")).path == "/sign-in"


async def test_whoever_is_suspended_sees_why_and_nothing_else(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    async with house.database.begin() as connection:
        account = await find_account(connection, "ada@example.com")
    assert account is not None
    await house.standings().suspend(account.id, "operator", "the key was shared")
    shown = await ada.get("/dashboard")
    assert (shown.path, shown.title) == ("/standing", "Your account is suspended")
    assert "the key was shared" in shown.words
    assert (await ada.post("/keys", {"name": "x"})).path == "/standing"
    await house.standings().resume(account.id, "operator", "it was not")
    assert (await ada.get("/dashboard")).path == "/dashboard"


async def test_the_operators_link_is_good_once(house: House) -> None:
    operator, other = house.browser(), house.browser("198.51.100.1")
    await operator.become_operator()
    link = token_of_first(house)
    form = {"link": link, "name": "Eve", "email": "eve@example.com", "password": PASSWORD}
    assert (await other.post("/first", form)).status == 400
    assert (await other.post("/first", form | {"link": "x" * 43})).status == 400
    assert (await operator.get("/dashboard")).path == "/dashboard"


def token_of_first(house: House) -> str:
    return first_link(secrets.read(house.settings.secrets).key_pepper)


async def test_nobody_signs_up_without_the_terms_of_today(house: House) -> None:
    form = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}
    refused = await house.browser().post("/sign-up", form | {"terms": "2001-01-01"})
    assert refused.status == 400
    assert "accept the terms" in refused.words
    assert refused.field("email") == "ada@example.com"


async def test_a_link_that_is_too_old_says_so(house: House) -> None:
    ada = house.browser()
    await ada.get("/sign-up")
    form = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD, "terms": "2025-10-28"}
    await ada.post("/sign-up", form)
    link = await house.link("/confirm")
    house.clock.now += joining.LINK_LASTS
    assert "too old" in (await ada.confirm(link)).words


async def test_new_terms_are_asked_to_be_accepted_and_told_by_mail(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await house.letters()
    for version in ("2025-10-28", "2027-01-31", "2027-01-31"):
        async with house.database.begin() as connection:
            await notice_terms(connection, version, house.clock())
            await tell(connection, house.clock())
    async with house.database.begin() as connection:
        site = Site("Appliance", ADDRESS)
        write = NewsLetters(site, PaperLetters(site, Papers(ACCENT))).write
        one = await queue.claim(connection, house.clock())
        assert one is not None
        letter = await write(connection, one)
        assert await queue.claim(connection, house.clock()) is None
    assert letter is not None
    assert letter.paragraphs[0] == "The terms of Appliance have a new version, of 31 January 2027."
    later = house.with_terms("2027-01-31").browser()
    later.client.cookies = ada.client.cookies
    assert (await later.get("/keys")).title == "The terms have changed"
    assert (await later.get("/account")).path == "/account"
    await later.post("/terms/accept", {"terms": "2025-10-28"})
    assert (await later.get("/keys")).path == "/terms/accept"
    await later.post("/terms/accept", {"terms": "2027-01-31"})
    assert (await later.get("/keys")).path == "/keys"
