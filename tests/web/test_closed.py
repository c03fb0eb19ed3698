"""An account that is closed, by the operator or by its owner: the appeal, the way back, and what is left."""

import json
from datetime import timedelta
from io import BytesIO
from zipfile import ZipFile

from sqlalchemy import select, text

from appliance.identity import retention
from appliance.identity.places import Places
from appliance.inbox import messages
from appliance.review import sightings
from appliance.review.looking import Review
from appliance.review.sightings import HOUR_SECONDS, Count, Place
from appliance.settings import ReviewSettings
from billing.customers.accounts import find_account
from billing.database.tables import api_key
from billing.documents.buyers import Buyer, keep_buyer
from tests.web.conftest import PASSWORD, Browser, House
from tests.web.shopping import WHO

CANARY = "Ada Byron King"
EMAIL = "ada.canary@example.com"


async def test_a_suspension_an_appeal_and_the_account_is_open_again(house: House) -> None:
    ada, operator = house.browser(), house.browser("198.51.100.1")
    await operator.become_operator()
    await ada.sign_up()
    number = await account_of(house)
    await house.letters()
    form = {"move": "suspend", "reason": "the key was shared"}
    assert (await operator.post(f"/console/customers/{number}/standing", form)).status == 200
    assert (await ada.get("/dashboard")).path == "/sign-in"
    assert (await ada.sign_in()).title == "Your account is suspended"
    assert (await ada.post("/standing/appeal", {"text": "It was not <b>shared</b>."})).status == 200
    assert "is being looked at" in (await ada.get("/standing")).words
    shown = await operator.get("/console/inbox")
    assert "It was not <b>shared</b>." in shown.words.replace("&lt;", "<").replace("&gt;", ">")
    message = shown.field("message")
    refused = await operator.post("/console/inbox", {"message": message, "outcome": "granted", "answer": " "})
    assert refused.status == 400
    await operator.post("/console/inbox", {"message": message, "outcome": "granted", "answer": "You are right."})
    assert (await ada.get("/dashboard")).path == "/dashboard"
    told = await house.letters()
    assert ("help@site.example", "An appeal") in {(to, letter.subject) for to, letter in told}
    assert "The reason: You are right." in told[-1][1].paragraphs
    trail = (await operator.get(f"/console/customers/{number}")).words
    assert "account suspended" in trail
    assert "the key was shared" in trail


async def test_an_appeal_is_possible_for_thirty_days_and_one_at_a_time(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    number = await account_of(house)
    assert (await ada.post("/standing/appeal", {"text": "Nothing is wrong."})).status == 400
    await house.standings().suspend(number, "operator", "a reason")
    await ada.post("/standing/appeal", {"text": "Please."})
    assert (await ada.post("/standing/appeal", {"text": "Please!"})).status == 400
    async with house.database.begin() as connection:
        (one,) = await messages.list_messages(connection, closed=False, limit=9)
    operator = house.browser("198.51.100.1")
    await operator.become_operator()
    denied = {"message": str(one.id), "outcome": "denied", "answer": "No."}
    assert (await operator.post("/console/inbox", denied)).status == 200
    assert (await operator.post("/console/inbox", denied)).status == 400
    house.clock.turn(days=30)
    await ada.sign_in()
    assert "You can appeal" not in (await ada.get("/standing")).words
    assert (await ada.post("/standing/appeal", {"text": "Please!"})).status == 400


async def test_a_deleted_account_can_be_restored_by_its_owner(house: House) -> None:
    ada, phone = house.browser(), house.browser("198.51.100.1")
    await ada.sign_up()
    await phone.sign_in()
    assert (await ada.post("/account/delete", {"password": "wrong"})).status == 401
    assert (await ada.post("/account/delete", {"password": PASSWORD})).title == "Your account is being deleted"
    assert (await phone.get("/keys")).path == "/sign-in"
    assert (await ada.get("/keys")).path == "/standing"
    assert (await ada.post("/standing/restore")).path == "/dashboard"
    assert (await ada.post("/standing/restore")).status == 400


async def test_whoever_was_suspended_does_not_get_out_of_it_by_deleting(house: House) -> None:
    ada = house.browser()
    await ada.sign_up()
    await house.standings().suspend(await account_of(house), "operator", "a reason")
    await ada.post("/account/delete", {"password": PASSWORD})
    assert (await ada.post("/standing/restore")).title == "Your account is suspended"


async def test_after_thirty_days_nothing_of_the_person_is_left_anywhere(house: House) -> None:
    ada = house.browser()
    await full_life(house, ada)
    number = await account_of(house, EMAIL)
    named = {table for table, _ in await tables_with(house, CANARY, EMAIL, "192.0.2.")}
    assert {"person", "session", "message", "sighting", "finding", "buyer"} <= named
    await ada.post("/account/delete", {"password": PASSWORD})
    house.clock.turn(days=30)
    await house.standings().delete(number, "appliance")
    looking = Review(house.database, house.standings(), Places(None), ReviewSettings(), "", house.clock)
    async with house.database.begin() as connection:
        emails = await retention.forget(connection, house.clock())
        await looking.forget(connection, house.clock())
        await messages.forget_writers(connection, emails)
    assert not await tables_with(house, CANARY, EMAIL, "192.0.2.", "laptop of Ada")
    assert (await ada.sign_in(EMAIL)).status == 401


async def test_all_that_is_kept_of_a_person_can_be_downloaded(house: House) -> None:
    ada, mallory = house.browser(), house.browser("198.51.100.1")
    await full_life(house, ada)
    await mallory.sign_up("mallory@example.com", "Mallory")
    ada = ada.at(house.without_chat())
    answer = await ada.client.get("/account/data")
    assert answer.headers["content-type"] == "application/zip"
    with ZipFile(BytesIO(answer.content)) as archive:
        document = json.loads(archive.read("account.json"))
        usage = archive.read("usage.csv").decode()
        explained = archive.read("README.txt").decode()
    assert document["person"][0]["name"] == CANARY
    for kept in ("keys", "passkeys"):
        assert [one["name"] for one in document[kept]] == ["laptop of Ada"]
    assert "192.0.2.0/24" in [one["network"] for one in document["sightings"]]
    assert [one["signal"] for one in document["findings"]] == ["networks"]
    assert document["acceptances"][0]["address"] == "192.0.2.17"
    assert usage.startswith("request_id,")
    assert all(name in explained for name in document)
    assert "mallory" not in json.dumps(document).lower()
    assert "digest" not in json.dumps(document)
    assert "$argon2id" not in json.dumps(document)
    for _ in range(3):
        answer = await ada.client.get("/account/data")
    assert answer.status_code == 429


async def full_life(house: House, ada: Browser) -> None:
    """Somebody who has left something in every table that a person leaves something in."""
    await ada.sign_up(EMAIL, CANARY)
    await ada.post("/keys", {"name": "laptop of Ada", "budget": "5"})
    await ada.post("/billing", WHO | {"name": CANARY})
    _, codes = await ada.second_factor()
    await ada.add_passkey("laptop of Ada", codes[0])
    written = {"name": CANARY, "email": EMAIL, "company": "", "text": f"I am {CANARY}."}
    for browser in (ada, house.browser("203.0.113.8")):
        assert (await browser.post("/contact", written)).title == "Thank you"
    await ada.post("/account/email", {"email": f"new.{EMAIL}", "password": PASSWORD, "code": codes[1]})
    await house.letters()
    await house.browser("203.0.113.9").post("/forgot", {"email": EMAIL})
    number = await account_of(house, EMAIL)
    await house.standings().suspend(number, "operator", "a reason")
    await ada.post("/standing/appeal", {"text": f"I am {CANARY}, {EMAIL}."})
    await house.standings().resume(number, "operator", "a reason")
    await sighted(house, number)
    async with house.database.begin() as connection:
        buyer = Buyer(CANARY, "Storgata 1", "0155", "Oslo", "NO", business=False)
        await keep_buyer(connection, number, buyer, house.clock())


async def sighted(house: House, number: int) -> None:
    """The key was used from many networks, and that was found."""
    async with house.database.begin() as connection:
        query = select(api_key.c.digest).where(api_key.c.account_id == number)
        (digest, *_) = (await connection.execute(query)).scalars().all()
        hour = int(house.clock().timestamp()) // HOUR_SECONDS
        networks = ("192.0.2.0/24", *(f"203.0.{n}.0/24" for n in range(12)))
        await sightings.add(connection, {Place(digest, one, hour): Count(1) for one in networks})
    looking = Review(house.database, house.standings(), Places(None), ReviewSettings(), "", house.clock)
    assert await looking.run_once() == 1


async def account_of(house: House, email: str = "ada@example.com") -> int:
    async with house.database.begin() as connection:
        account = await find_account(connection, email)
    assert account is not None
    return account.id


async def tables_with(house: House, *texts: str) -> set[tuple[str, str]]:
    """Every table of the database in a row of which one of the texts is, whatever its columns are."""
    found = set()
    async with house.database.begin() as connection:
        names = await connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
        )
        for (name,) in names.all():
            for looked_for in texts:
                query = text(f'SELECT count(*) FROM "{name}" AS r WHERE strpos(r::text, :looked_for) > 0')
                if (await connection.execute(query, {"looked_for": looked_for})).scalar_one():
                    found.add((name, looked_for))
    return found


async def test_messages_are_kept_for_a_set_time(house: House) -> None:
    stranger = house.browser()
    form = {"name": "Bob", "email": "bob@example.com", "company": "Bob & Co", "text": "Hello,\nhow much?"}
    assert (await stranger.post("/contact", form)).title == "Thank you"
    ((to, letter),) = await house.letters()
    assert (to, letter.subject, letter.reply_to) == (
        "help@site.example", "Somebody wrote to Appliance", "bob@example.com"
    )  # fmt: skip
    async with house.database.begin() as connection:
        await messages.forget(connection, house.clock() + timedelta(days=180), timedelta(days=180))
        assert await messages.count_open(connection) == 0
