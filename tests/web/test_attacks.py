"""What strangers, other customers and other sites try."""

import html
import re

import pytest
from zxcvbn import zxcvbn

from appliance.identity.passwords import LEAST_GUESSES
from appliance.site.audience import Audience
from appliance.site.pages import audiences
from tests.web.conftest import PASSWORD, House

SCRIPT = "\"'><script>alert(1)</script>{{77*77}}${77*77}"


@pytest.mark.parametrize("fetched", ["cross-site", "same-site", "none", "nonsense"])
async def test_no_form_of_another_site_changes_anything(house: House, fetched: str) -> None:
    ada = house.browser()
    await ada.sign_up()
    assert (await ada.post("/keys", {"name": "theirs"}, fetched)).status == 403
    assert "theirs" not in (await ada.get("/keys")).text
    assert (await ada.post("/sign-out", fetched=fetched)).status == 403
    assert (await ada.get("/keys")).path == "/keys"


async def test_without_fetch_metadata_the_origin_decides(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    for origin, status in (("https://site.example", 303), ("https://evil.example", 403), ("null", 403), ("", 403)):
        ada.client.follow_redirects = False
        headers = {"origin": origin} if origin else {}
        answer = await ada.client.post("/account/name", data={"name": "Ada L"}, headers=headers)
        assert answer.status_code == status, origin


async def test_every_page_tells_the_browser_to_run_nothing_of_others(house: House) -> None:
    ada = house.browser()
    for method, path in audiences(house.site.pages):
        page = await (ada.get(path) if method == "GET" else ada.post(path))
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(
            r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|javascript:|https?://(?!site\.example|127\.0\.0\.1)",
            page.text,
        )


async def test_every_answer_holds_browsers_to_tls_and_is_framed_by_nobody(house: House) -> None:
    ada = house.browser()
    answers = [await ada.get(path) for path in ("/", "/nothing", "/livez", "/dashboard")]
    answers += [
        await ada.post("/sign-in", fetched="cross-site"),
        await ada.post("/sign-in", {"email": "x" * 70000}),
    ]
    assert [answer.status for answer in answers] == [200, 404, 200, 200, 403, 413]
    for answer in answers:
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"


async def test_cookies_are_kept_to_this_host_and_from_scripts(house: House) -> None:
    ada = house.browser()
    ada.client.follow_redirects = False
    form = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD, "terms": "2025-10-28"}
    applied = await ada.client.post("/sign-up", data=form, headers={"sec-fetch-site": "same-origin"})
    link = (await house.link("/confirm")).partition("link=")[2]
    confirmed = await ada.client.post("/confirm", data={"link": link}, headers={"sec-fetch-site": "same-origin"})
    for answer in (applied, confirmed):
        for cookie in answer.headers.get_list("set-cookie"):
            attributes = {part.strip().lower() for part in cookie.split(";")}
            assert cookie.startswith("__Host-")
            assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
            assert not any(part.startswith("domain") for part in attributes)


async def test_a_session_that_somebody_planted_is_not_taken_over(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/sign-out")
    ada.client.cookies.set("__Host-session", "planted" * 6, domain="site.example")
    await ada.sign_in()
    sessions = [cookie.value for cookie in ada.client.cookies.jar if cookie.name == "__Host-session"]
    assert sessions[-1] != "planted" * 6
    mallory = house.browser("198.51.100.1")
    mallory.client.cookies.set("__Host-session", "planted" * 6, domain="site.example")
    assert (await mallory.get("/dashboard")).path == "/sign-in"


@pytest.mark.parametrize(
    "then",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/%2f/evil.example", "/@evil.example",
     "\t//evil.example", "/keys?x=//evil.example", "/.evil.example", "javascript:alert(1)"],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site(house: House, then: str) -> None:
    ada = house.browser()
    await ada.sign_up()
    await ada.post("/sign-out")
    ada.client.follow_redirects = False
    answer = await ada.client.post(
        "/sign-in", data={"email": "ada@example.com", "password": PASSWORD, "next": then},
        headers={"sec-fetch-site": "same-origin"},
    )  # fmt: skip
    assert answer.headers["location"] == "/dashboard"
    answer = await ada.client.post(
        "/language", data={"language": "nb", "back": then}, headers={"sec-fetch-site": "same-origin"}
    )
    assert answer.headers["location"] == "/"


async def test_what_somebody_typed_is_text_wherever_it_is_shown(house: House) -> None:
    ada = house.browser()
    await ada.sign_up(name=SCRIPT)
    await ada.post("/keys", {"name": SCRIPT[:60]})
    passkey = await ada.add_passkey(SCRIPT[:60])
    phone = house.browser("198.51.100.1")
    phone.client.headers["user-agent"] = SCRIPT
    await phone.sign_in()
    await phone.post("/second-factor", {"passkey": passkey.get((await phone.post("/passkey")).text)})
    pages = [
        await ada.get(path)
        for (method, path), audience in audiences(house.site.pages).items()
        if method == "GET" and audience in (Audience.ANYBODY, Audience.PERSON, Audience.CUSTOMER)
    ]
    pages += [
        await house.browser().get(f"{path}?link={SCRIPT}&next={SCRIPT}")
        for path in ("/confirm", "/reset", "/first", "/sign-in")
    ]
    pages.append(await house.browser().post("/sign-in", {"email": SCRIPT, "password": "x", "next": SCRIPT}))
    assert sum(html.escape("<script>") in page.text or "&lt;script" in page.text for page in pages) >= 5
    for page in pages:
        assert "<script>" not in page.text, page.path
        assert "5929" not in page.text, page.path


async def test_another_customers_key_and_session_are_not_there(house: House) -> None:
    ada, mallory = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await mallory.sign_up("mallory@example.com", "Mallory")
    await ada.post("/keys", {"name": "ada's"})
    key = (await ada.get("/keys")).text.partition('name="key" value="')[2].partition('"')[0]
    assert (await mallory.post("/keys/revoke", {"key": key})).status == 400
    assert "Keys that are good no more" not in (await ada.get("/keys")).words
    for number in range(1, 10):
        await mallory.post("/account/sessions", {"session": str(number)})
    assert (await ada.get("/keys")).path == "/keys"


async def test_nobody_is_told_who_has_an_account(house: House) -> None:
    """Not by a letter of the answer nor of its headers, nor by when a try is one too many."""
    await house.browser().sign_up()
    stranger = house.browser("203.0.113.1")

    async def told(path: str, form: dict[str, str]) -> tuple[int, list[tuple[str, str]], str]:
        page = await stranger.post(path, form)
        token = r"=[\w-]{43};"
        headers = [(name, re.sub(token, "=a token;", value)) for name, value in page.headers.multi_items()]
        return page.status, headers, page.text.replace(form["email"], "")

    for path, form, tries, statuses in (
        ("/sign-in", {"password": "wrong"}, 12, {401, 429}),
        ("/forgot", {}, 4, {200, 429}),
        ("/sign-up", {"name": "X", "password": PASSWORD, "terms": "2025-10-28"}, 4, {200, 429}),
    ):
        emails = ("ada@example.com", "eve@example.com")
        has, has_none = [[await told(path, {"email": email, **form}) for _ in range(tries)] for email in emails]
        assert has == has_none, path
        assert {status for status, *_ in has} == statuses, path


async def test_an_attack_on_an_account_keeps_its_owner_out_of_no_browser_that_it_knows(house: House) -> None:
    ada, phone = house.browser(), house.browser("198.51.100.7")
    await ada.sign_up()
    await ada.sign_in()
    statuses = [(await house.browser(f"203.0.{n}.1").sign_in(password=f"wrong {n}")).status for n in range(30)]
    assert statuses[-1] == 429
    assert (await ada.sign_in()).path == "/dashboard"
    assert (await phone.sign_in()).status == 429
    await phone.post("/forgot", {"email": "ada@example.com"})
    reset = await phone.get(await house.link("/reset"))
    await phone.post("/reset", {"link": reset.field("link"), "password": f"{PASSWORD} anew"})
    assert (await phone.sign_in(password=f"{PASSWORD} anew")).path == "/dashboard"


@pytest.mark.parametrize("password", ["Site.Example", "Ex4mple AS 2026", "Appliance 2026!", "help@site.example"])
async def test_what_everybody_knows_of_the_service_is_no_password(house: House, password: str) -> None:
    assert zxcvbn(password)["guesses"] >= LEAST_GUESSES, "elsewhere it would do"
    form = {"name": "Ada", "email": "ada@example.net", "password": password, "terms": "2025-10-28"}
    refused = await house.browser().post("/sign-up", form)
    assert refused.status == 400
    assert "too easy to guess" in refused.words
    assert await house.letters() == []


async def test_a_form_is_small_and_of_fields(house: House) -> None:
    ada = house.browser()
    own = {"sec-fetch-site": "same-origin"}
    assert (await ada.client.post("/sign-in", data={"email": "x" * (70 << 10)}, headers=own)).status_code == 413
    assert (await ada.client.post("/sign-in", json={"email": "x"}, headers=own)).status_code == 400
    assert (await ada.client.post("/sign-in", files={"email": b"x"}, headers=own)).status_code == 400
    many = {f"field{number}": "" for number in range(50)}
    assert (await ada.client.post("/sign-in", data=many, headers=own)).status_code == 400
    assert (await ada.client.post("/sign-in", content=b"email=%00", headers=own | FORM)).status_code == 400
    assert (await ada.client.post("/sign-in", content=b"email=%ff", headers=own | FORM)).status_code == 400


FORM = {"content-type": "application/x-www-form-urlencoded"}
