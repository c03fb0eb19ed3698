"""How pages come: in whose language, with which files, and what they say when something is wrong."""

import uuid
from pathlib import Path

import pytest

from appliance.identity.origin import Origin
from appliance.settings import SettingsError, load_settings
from appliance.site.pages import audiences
from appliance.site.visitor import accepted
from appliance.web.legal import read_legal_texts
from tests.browser.screenshots import FOR_ALL, FOR_CUSTOMERS, FOR_OPERATORS
from tests.web.conftest import House


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("nb", "nb"), ("no,en;q=0.5", "nb"), ("nn-NO", "nb"), ("en;q=0.4, nb;q=0.8", "nb"),
        ("nb;q=0, en", "en"), ("de", "en"), ("nb;q=x", "en"), (",;q=,", "en"), ("*", "en"), ("NB-no", "nb"),
    ],
)  # fmt: skip
def test_the_browser_says_which_language_it_likes(header: str, language: str) -> None:
    assert accepted(header) == language


async def test_a_page_is_in_the_language_that_was_asked_for_and_then_in_the_one_chosen(house: House) -> None:
    stranger = house.browser()
    page = await stranger.get("/sign-in", accept_language="nb-NO,nb;q=0.9")
    assert (page.title, '<html lang="nb">' in page.text) == ("Logg inn", True)
    await stranger.post("/language", {"language": "en"})
    assert (await stranger.get("/sign-in", accept_language="nb-NO")).title == "Sign in"


async def test_the_files_of_a_page_are_kept_by_the_browser_and_named_by_what_is_in_them(house: House) -> None:
    stranger = house.browser()
    page = await stranger.get("/")
    urls = [part.partition('"')[0] for part in page.text.split('href="/static/')[1:]]
    assert urls
    for url in urls:
        file = await stranger.get(f"/static/{url}")
        assert (file.status, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert "--accent: #1f5fbf" in (await stranger.get(f"/static/{urls[0]}")).text
    assert (await stranger.get("/static/000000000000/site.css")).status == 404


async def test_every_page_is_looked_at_in_a_browser_too(house: House) -> None:
    seen = {path.partition("?")[0] for path in (*FOR_ALL, *FOR_CUSTOMERS, *FOR_OPERATORS)}
    named = {"account_id": 3, "document_id": 1, "cents": 2500, "plan": "team"}
    there = {path.format(**named) for method, path in audiences(house.site.pages) if method == "GET"}
    downloads = {"/account/data", "/documents/1/pdf"}
    lead_on = {"/plan/pay", "/plan/subscribed", "/credit/card", "/openid/authorize"}
    other = {"/playground/cost", "/second-factor", "/standing", "/documents/paid"}
    assert there - seen == downloads | lead_on | other  # a script's question, and three of another standing


async def test_what_is_not_there_is_a_page_too(house: House) -> None:
    page = await house.browser().get("/nothing", accept_language="nb")
    assert (page.status, page.title) == (404, "Her er det ingenting")
    assert (await house.browser().post("/")).status == 405


async def test_while_the_database_is_away_a_page_says_to_come_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = house.browser()
    await ada.sign_up()
    await house.site.database.close()
    monkeypatch.setattr(house.site.database, "begin", _unavailable)
    page = await ada.get("/keys")
    assert (page.status, page.headers["retry-after"], page.title) == (503, "5", "One moment")


def _unavailable(*_: object, **__: object) -> object:
    from billing.errors import DatabaseUnavailable

    raise DatabaseUnavailable("it is away")


async def test_the_operators_own_terms_are_shown_and_accepted(house: House, tmp_path: Path) -> None:
    page = await house.browser().get("/terms")
    assert "Last updated: 2025-10-28" in page.words
    assert "Example AS answers requests" in page.words
    assert "help@site.example" in page.words


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "cannot be read"), ("Our terms", "does not begin"), ("# Terms\nsome time\n\nText", "does not begin")],
)
def test_terms_that_cannot_be_used_are_named(tmp_path: Path, text: str | None, problem: str) -> None:
    config = tmp_path / "appliance.yaml"
    config.write_text("site: {terms_file: terms.md}")
    if text is not None:
        (tmp_path / "terms.md").write_text(text)
    settings = load_settings({"APPLIANCE_CONFIG": str(config), "APPLIANCE_HOME": str(tmp_path)})
    with pytest.raises(SettingsError, match=problem):
        read_legal_texts(settings)


def test_the_operators_text_cannot_bring_markup_of_its_own(tmp_path: Path) -> None:
    config = tmp_path / "appliance.yaml"
    config.write_text("site: {terms_file: terms.md}")
    (tmp_path / "terms.md").write_text("# T\nVersion: 2026-01-31\n<script>x</script> [a](javascript:x) **b**")
    settings = load_settings({"APPLIANCE_CONFIG": str(config), "APPLIANCE_HOME": str(tmp_path)})
    text = read_legal_texts(settings).terms
    assert text.version == "2026-01-31"
    assert "<script" not in text.html
    assert 'href="javascript' not in text.html
    assert "<strong>b</strong>" in text.html


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537 Edg/140.0",
         "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Safari/604.1",
         "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
         "Chrome on Android"),
        ("<script>alert(1)</script>", "?"),
        ("", "?"),
    ],
)  # fmt: skip
def test_of_a_browser_its_name_is_kept(agent: str, name: str) -> None:
    assert Origin("192.0.2.1", agent).browser == name


async def test_what_a_request_costs_is_nothing_until_it_is_charged_and_nothing_of_others(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    assert (await ada.get(f"/playground/cost?request={uuid.uuid4()}")).text == '{"cost":null}'
    for wrong in ("", "?request=", "?request=1"):
        assert (await ada.get(f"/playground/cost{wrong}")).status == 400
