"""The review list: from what was seen of a key, or of sign-ins, to what becomes of the account."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from appliance.identity.places import Places
from appliance.review import findings, sightings
from appliance.review.looking import Review
from appliance.review.sightings import Count, Place, hour_of
from appliance.review.tables import finding, sighting
from appliance.settings import ReviewSettings
from billing.customers.accounts import get_account, list_audit
from billing.database.tables import api_key
from tests.places import write_places
from tests.web.conftest import Browser, House
from tests.web.test_closed import account_of

PEOPLE = "help@site.example"


def review(house: House, places: Path | None = None, **settings: object) -> Review:
    limits = msgspec.convert(settings, ReviewSettings)
    return Review(house.database, house.standings(), Places(places), limits, PEOPLE, house.clock)


async def make_key(browser: Browser) -> None:
    assert (await browser.post("/keys", {"name": "shared"})).status == 200


async def used(house: House, account_id: int, networks: int, requests: int = 1, refused: int = 0) -> None:
    """What gateways would have written of the account's key in this hour."""
    query = select(api_key.c.digest).where(api_key.c.account_id == account_id, api_key.c.purpose == "program")
    hour = int(house.clock().timestamp()) // sightings.HOUR_SECONDS
    async with house.database.begin() as connection:
        (digest, *_) = (await connection.execute(query)).scalars().all()
        counts = {Place(digest, f"203.0.{n}.0/24", hour): Count(requests, refused) for n in range(networks)}
        await sightings.add(connection, counts)


async def status(house: House, account_id: int) -> str:
    async with house.database.begin() as connection:
        return (await get_account(connection, account_id)).status


@pytest.fixture
async def ada(house: House) -> Browser:
    browser = house.browser()
    await browser.sign_up()
    await make_key(browser)
    await house.letters()
    return browser


async def test_what_was_found_is_told_shown_and_closed_with_a_reason(house: House, ada: Browser) -> None:
    operator, number = house.browser("198.51.100.1"), await account_of(house)
    await operator.become_operator()
    await house.letters()
    await used(house, number, networks=12, requests=3)
    assert await review(house).run_once() == 1
    ((to, letter),) = await house.letters()
    assert (to, letter.subject) == (PEOPLE, "A key is used from many networks")
    assert letter.link == ("Open the review list", "https://site.example/console/review")
    assert "To review: 1" in (await operator.get("/console")).words
    shown = await operator.get("/console/review")
    assert "Networks within 24 hours 12" in shown.words
    assert "Requests, including refused 36" in shown.words
    assert "203.0.7.0/24" in shown.words
    assert f"/console/customers/{number}" in shown.text
    form = {"finding": shown.field("finding"), "outcome": "harmless"}
    assert (await operator.post("/console/review", form | {"reason": " "})).status == 400
    assert (await operator.post("/console/review", form | {"reason": "x", "outcome": "x"})).status == 400
    closed = await operator.post("/console/review", form | {"reason": "It is their own servers."})
    assert "Nothing waits." in closed.words
    assert "Nothing wrong" in closed.words
    assert (await operator.post("/console/review", form | {"reason": "again"})).status == 400
    async with house.database.begin() as connection:
        (entry,) = [one for one in await list_audit(connection, number) if one.action.startswith("finding")]
    assert (entry.action, entry.subject, entry.reason) == (
        "finding closed: harmless", "networks", "It is their own servers."
    )  # fmt: skip
    assert entry.actor.startswith("operator ")


async def test_what_is_harmless_is_not_told_again_for_thirty_days(house: House, ada: Browser) -> None:
    number, looking = await account_of(house), review(house)
    await used(house, number, networks=12)
    await looking.run_once()
    await close(house, "harmless")
    for _ in range(29):
        house.clock.turn(days=1)
        await used(house, number, networks=12)
        await forget(house, looking)
        assert await looking.run_once() == 0
    await used(house, number, networks=3, requests=1000, refused=1000)
    assert await looking.run_once() == 1, "another signal is another matter"
    house.clock.turn(days=1)
    await used(house, number, networks=12)
    await forget(house, looking)
    assert await looking.run_once() == 1


async def test_what_was_dealt_with_is_found_again_when_it_goes_on(house: House, ada: Browser) -> None:
    number, looking = await account_of(house), review(house)
    await used(house, number, networks=12)
    await looking.run_once()
    await close(house, "dealt_with")
    assert await looking.run_once() == 0
    house.clock.turn(hours=1)
    assert await looking.run_once() == 0
    await used(house, number, networks=12)
    assert await looking.run_once() == 1


async def test_nobody_is_suspended_by_a_program_unless_the_operator_wants_it(house: House, ada: Browser) -> None:
    number = await account_of(house)
    await used(house, number, networks=12)
    await review(house).run_once()
    assert await status(house, number) == "active"
    await review(house, suspend=["networks", "refused"]).run_once()
    assert await status(house, number) == "active", "what was on the list before is the operator's to decide"
    assert (await ada.get("/dashboard")).path == "/dashboard"


async def test_a_suspension_by_itself_is_told_can_be_appealed_and_comes_once(house: House, ada: Browser) -> None:
    number, looking = await account_of(house), review(house, suspend=["refused"])
    assert (await ada.post("/account/language", {"language": "nb"})).status == 200
    await used(house, number, networks=12)
    await looking.run_once()
    assert await status(house, number) == "active", "only the signals that the setting names"
    await used(house, number, networks=1, requests=1000, refused=1000)
    await looking.run_once()
    assert await status(house, number) == "suspended"
    assert (await ada.get("/dashboard")).path == "/sign-in"
    (told,) = [letter for to, letter in await house.letters() if to == "ada@example.com"]
    assert "svært mange forespørsler som ble avvist" in " ".join(told.paragraphs)
    await ada.sign_in()
    assert (await ada.post("/standing/appeal", {"text": "It was a fault in a program."})).status == 200
    async with house.database.begin() as connection:
        entry = (await list_audit(connection, number))[-1]
    assert entry.actor == "appliance"
    await house.standings().resume(number, "operator", "a fault")
    for _ in range(2):
        await looking.run_once()
    assert await status(house, number) == "active"


async def test_a_suspension_that_was_interrupted_is_made_up_for(house: House, ada: Browser) -> None:
    number, looking = await account_of(house), review(house, suspend=["networks"])
    await used(house, number, networks=12)
    async with house.database.begin() as connection:  # as far as a worker comes that is killed between the two
        for one in await looking._strange(connection, house.clock()):
            await findings.record(connection, one, house.clock(), to_suspend=True)
    await looking.run_once()
    assert await status(house, number) == "suspended"


async def test_impossible_travel_is_found_by_a_database_of_places(house: House, tmp_path: Path) -> None:
    places = write_places(tmp_path / "places.mmdb")
    ada, abroad = house.browser("192.0.2.17"), house.browser("198.51.100.9")
    await ada.sign_up()
    await ada.sign_in()
    house.clock.turn(hours=2)
    await abroad.sign_in()
    assert await review(house).run_once() == 0
    assert await review(house, places).run_once() == 1
    operator = house.browser("203.0.113.1")
    await operator.become_operator()
    shown = (await operator.get("/console/review")).words
    assert "Impossible travel" in shown
    assert "198.51.100.0/24, JP" in shown
    assert "Time between, minutes 120" in shown


async def test_a_flight_later_nothing_is_found(house: House, tmp_path: Path) -> None:
    places = write_places(tmp_path / "places.mmdb")
    ada, abroad, unknown = house.browser("192.0.2.17"), house.browser("198.51.100.9"), house.browser("100.64.1.1")
    await ada.sign_up()
    await unknown.sign_in()
    house.clock.turn(hours=12)
    await abroad.sign_in()
    assert await review(house, places).run_once() == 0


async def test_what_was_seen_is_forgotten_after_the_set_time(house: House, ada: Browser) -> None:
    number, looking = await account_of(house), review(house, keep_days=7)
    await used(house, number, networks=12)
    await looking.run_once()
    house.clock.turn(days=6)
    await forget(house, looking)
    assert await rows(house) == (12, 1)
    house.clock.turn(days=1, hours=1)
    await forget(house, looking)
    assert await rows(house) == (0, 0)


async def test_a_deleted_account_is_not_looked_at(house: House, ada: Browser) -> None:
    number = await account_of(house)
    await used(house, number, networks=12)
    await house.standings().mark_for_deletion(number, "customer", "asked for")
    assert await review(house).run_once() == 0
    house.clock.turn(days=30)
    await house.standings().delete(number, "appliance")
    await used(house, number, networks=3)
    async with house.database.begin() as connection:
        networks = (await connection.execute(select(sighting.c.network))).scalars().all()
    assert len(networks) == 12, "what a gateway still had of a deleted account is not written"
    await forget(house, review(house))
    assert await rows(house) == (0, 0)


def test_an_hour_has_a_beginning() -> None:
    assert hour_of(datetime(2026, 1, 31, 12, 59, 59, 9, UTC)) == datetime(2026, 1, 31, 12, tzinfo=UTC)


async def close(house: House, outcome: findings.Outcome) -> None:
    async with house.database.begin() as connection:
        (one,) = await findings.list_findings(connection, closed=False, limit=9)
        await findings.close(connection, one.id, outcome, "a reason", "operator 1", house.clock)


async def forget(house: House, looking: Review) -> None:
    async with house.database.begin() as connection:
        await looking.forget(connection, house.clock())


async def rows(house: House) -> tuple[int, int]:
    """Sightings and findings."""
    async with house.database.begin() as connection:
        counts = [len((await connection.execute(select(table))).all()) for table in (sighting, finding)]
    return counts[0], counts[1]
