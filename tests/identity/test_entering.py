"""Signing in, and what a stranger gets for trying."""

import asyncio
import statistics
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import update

from appliance.identity import sessions
from appliance.identity.arrivals import NEW_COUNTRY, NEW_DEVICE
from appliance.identity.ending import end_everybodys_sessions
from appliance.identity.entering import BY_DEVICES
from appliance.identity.errors import TooManyTries, WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passwords import STRANGERS_IN_LINE, Cost, Passwords
from appliance.identity.places import Places
from appliance.identity.tables import person
from billing.customers.accounts import recent_audit
from billing.database.db import Database
from billing.database.tables import account
from tests.identity.conftest import HOME, PASSWORD, Door
from tests.identity.test_second import enrol
from tests.places import write_places


async def test_the_right_password_opens_and_the_owner_hears_of_a_new_browser_only(door: Door) -> None:
    entered = await door.join()
    assert await door.signed(entered.session) is not None
    again = await door.entering.sign_in(" ADA@example.com", PASSWORD, HOME, entered.device)
    assert again.device == entered.device
    assert again.session != entered.session
    assert await door.mail() == []
    other = await door.entering.sign_in("ada@example.com", PASSWORD, Origin("2001:db8::7", "Safari"))
    assert [one.kind for one in await door.mail()] == [NEW_DEVICE]
    assert other.device != entered.device


async def test_a_wrong_password_and_an_unknown_email_are_told_alike(door: Door) -> None:
    await door.join()
    said = set()
    for email, password in (
        ("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("", ""),
        ("ada@example.com", "x" * 10_000),
        ("no address", PASSWORD), ("ada@example.com\x00", PASSWORD), ("\ud800", PASSWORD),
        ("ada@example.com", "\ud800" * 20),
    ):  # fmt: skip
        with pytest.raises(WrongCredentials) as refused:
            await door.entering.sign_in(email, password, HOME)
        said.add(str(refused.value))
    assert len(said) == 1


async def test_a_wrong_password_and_an_unknown_email_cost_the_same_steps(door: Door) -> None:
    """What takes no step more takes no time more: the bench of attacks weighs what is left."""
    await door.join()

    async def steps(email: str) -> Counter[tuple[str, str]]:
        called = Counter[tuple[str, str]]()

        def count(frame: FrameType, event: str, _: object) -> None:
            code = frame.f_code
            if event == "call" and any(part in code.co_filename for part in ("/appliance/", "/sqlalchemy/")):
                called[code.co_filename, code.co_qualname] += 1

        sys.setprofile(count)
        try:
            with pytest.raises(WrongCredentials):
                await door.entering.sign_in(email, "wrong", HOME)
        finally:
            sys.setprofile(None)
        return called

    for email in ("ada@example.com", "eve@example.com"):
        await steps(email)
    assert await steps("ada@example.com") == await steps("eve@example.com")


async def test_strangers_who_try_without_end_are_refused_and_the_owner_still_gets_in(door: Door) -> None:
    entered = await door.join()
    waits = []
    for number in range(100):
        try:
            await door.entering.sign_in("ada@example.com", "wrong", Origin(f"203.0.{number}.1", "x"))
        except WrongCredentials:
            pass
        except TooManyTries as refused:
            waits.append(refused.retry_after_seconds)
    assert len(waits) >= 90
    assert all(1 <= wait <= 60 for wait in waits)
    await door.entering.sign_in("ada@example.com", PASSWORD, HOME, entered.device)
    with pytest.raises(TooManyTries):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME)


async def test_strangers_stand_in_a_short_line_which_the_owner_does_not_join(door: Door) -> None:
    """They come from everywhere and try everybody: none of them is one too many for a network or an account."""
    entered = await door.join()
    checked, go_on = threading.Semaphore(0), threading.Event()

    class Slow(Passwords):
        def _verify(self, password: str, hashed: str) -> bool:
            if password == "wrong":
                checked.release()
                assert go_on.wait(60)
            return super()._verify(password, hashed)

    door.entering._passwords = Slow(Cost(passes=1, memory_kib=64, lanes=1))
    crowd = [
        asyncio.create_task(door.entering.sign_in(f"{n}@example.com", "wrong", Origin(f"203.0.{n}.1", "x")))
        for n in range(100)
    ]
    try:
        assert await asyncio.to_thread(checked.acquire, timeout=30)
        async with asyncio.timeout(30):
            await door.entering.sign_in("ada@example.com", PASSWORD, HOME, entered.device)
        async with asyncio.timeout(60):
            while sum(one.done() for one in crowd) < 100 - STRANGERS_IN_LINE:
                await asyncio.sleep(0.01)
    finally:
        go_on.set()
        done = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(isinstance(one, WrongCredentials) for one in done) == STRANGERS_IN_LINE
    assert sum(isinstance(one, TooManyTries) for one in done) == 100 - STRANGERS_IN_LINE
    with pytest.raises(WrongCredentials):
        await door.entering.sign_in("99@example.com", "wrong", Origin("203.0.99.1", "x"))


async def test_one_network_cannot_go_through_everybody(door: Door) -> None:
    tried = 0
    for number in range(60):
        try:
            await door.entering.sign_in(f"{number}@example.com", "wrong", Origin(f"192.0.2.{number}", "x"))
        except WrongCredentials:
            tried += 1
        except TooManyTries:
            pass
    assert tried == 30


async def test_a_known_browser_does_not_suffer_for_its_network(door: Door) -> None:
    entered = await door.join()
    for number in range(40):
        with pytest.raises((WrongCredentials, TooManyTries)):
            await door.entering.sign_in(f"{number}@example.com", "wrong", HOME)
    await door.entering.sign_in("ada@example.com", PASSWORD, HOME, entered.device)


def test_what_is_kept_of_an_origin() -> None:
    kept = {
        "192.0.2.17": "192.0.2.0/24", "::ffff:192.0.2.17": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48",
        "fe80::1%eth0": "fe80::/48", "": "0.0.0.0/24", "unknown": "0.0.0.0/24", "1.2.3.4:80": "0.0.0.0/24",
    }  # fmt: skip
    assert {text: Origin(text, "x").network for text in kept} == kept
    assert Origin("", "Firefox\x00\n\ud800" + "x" * 200).browser == "Firefox"


async def test_tries_at_the_same_moment_are_all_counted(door: Door) -> None:
    tries = [door.entering.sign_in("ada@example.com", "wrong", Origin(f"203.0.{n}.1", "x")) for n in range(40)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, WrongCredentials) for one in done) <= 11  # ten, and those that began before it
    assert sum(isinstance(one, TooManyTries) for one in done) >= 29


@pytest.mark.parametrize("cookie", ["", "x", "é", "AAAA", "A" * 60, "=" * 44])
async def test_a_device_cookie_that_somebody_made_up_is_none(door: Door, cookie: str) -> None:
    other = await door.join("eve@example.com")
    await door.join()
    for made_up in (cookie, other.device):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME, made_up)
        assert [one.kind for one in await door.mail()] == [NEW_DEVICE]


async def test_a_password_that_changes_while_it_is_checked_opens_no_more(door: Door, passwords: Passwords) -> None:
    entered = await door.join()

    class Changing(Passwords):
        async def is_right(self, password: str, hashed: str | None, *, stranger: bool = False) -> bool:
            right = await passwords.is_right(password, hashed, stranger=stranger)
            async with door.database.begin() as connection:
                await connection.execute(
                    update(person).values(password=await passwords.hash("new, and long enough"))
                )
                signed = await sessions.find(connection, entered.session, door.clock())
                assert signed is not None
                await sessions.end_all(connection, signed.account_id)
            return right

    door.entering._passwords = Changing()
    with pytest.raises(WrongCredentials):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME)
    assert await door.signed(entered.session) is None


async def test_a_session_ends_unused_after_its_time_and_altogether_after_a_longer_one(door: Door) -> None:
    entered = await door.join()
    for _ in range(4):
        door.clock.turn(days=6)
        assert await door.signed(entered.session) is not None
    door.clock.turn(days=6)
    assert await door.signed(entered.session) is None
    second = await door.entering.sign_in("ada@example.com", PASSWORD, HOME)
    door.clock.turn(days=7)
    assert await door.signed(second.session) is None


async def test_an_operators_session_is_shorter(door: Door) -> None:
    await door.join()
    async with door.database.begin() as connection:
        await connection.execute(update(account).values(role="operator"))
    entered = await door.entering.sign_in("ada@example.com", PASSWORD, HOME)
    door.clock.turn(minutes=29)
    assert await door.signed(entered.session) is not None
    door.clock.turn(minutes=30)
    assert await door.signed(entered.session) is None


async def test_a_person_sees_and_ends_sessions_of_their_own_and_of_nobody_else(door: Door) -> None:
    ada, eve = await door.join(), await door.join("eve@example.com")
    phone = await door.entering.sign_in("ada@example.com", PASSWORD, Origin("203.0.113.200", "Safari on iPhone"))
    mine, hers = await door.signed(ada.session), await door.signed(eve.session)
    assert mine is not None
    assert hers is not None
    async with door.database.begin() as connection:
        seen = await sessions.of(connection, mine.account_id, door.clock())
        assert ("203.0.113.0/24", "Safari on iPhone") in {(one.network, one.browser) for one in seen}
        await sessions.end(connection, hers.account_id, mine.session_id, door.clock())
    assert await door.signed(ada.session) is not None
    async with door.database.begin() as connection:
        await sessions.end_all(connection, mine.account_id, but=mine.session_id)
    assert await door.signed(phone.session) is None
    assert await door.signed(ada.session) is not None
    assert await door.signed(eve.session) is not None
    for made_up in ("", "made up", "\x00", "\ud800"):
        assert await door.signed(made_up) is None


async def test_of_many_sessions_the_one_that_was_used_least_recently_ends(door: Door) -> None:
    eve, ada = await door.join("eve@example.com"), await door.join()

    async def a_minute_later() -> str:
        door.clock.turn(minutes=1)
        return (await door.entering.sign_in("ada@example.com", PASSWORD, HOME, ada.device)).session

    unused, *others = [await a_minute_later() for _ in range(sessions.MOST_OF_ONE - 1)]
    assert await door.signed(ada.session) is not None  # used now: the oldest, and not the longest unused
    others.append(await a_minute_later())
    assert await door.signed(unused) is None
    for session in (ada.session, *others, eve.session):
        assert await door.signed(session) is not None


async def test_a_password_alone_ends_no_session_that_the_second_factor_was_given_in(door: Door) -> None:
    me, *_ = await enrol(door)
    device = None
    for _ in range(sessions.MOST_OF_ONE + 3):
        door.clock.turn(minutes=1)
        device = (await door.entering.sign_in("ada@example.com", PASSWORD, HOME, device)).device
    async with door.database.begin() as connection:
        kept = {one.id for one in await sessions.of(connection, me.account_id, door.clock())}
    assert me.session_id in kept
    assert len(kept) == sessions.MOST_OF_ONE


async def test_many_browsers_that_an_account_knows_have_one_line_together(door: Door) -> None:
    await door.join()
    devices = []
    for _ in range(BY_DEVICES.at_once):
        door.clock.turn(minutes=1)
        devices.append((await door.entering.sign_in("ada@example.com", PASSWORD, HOME)).device)
    door.clock.turn(hours=1)
    for device in devices:
        with pytest.raises(WrongCredentials):
            await door.entering.sign_in("ada@example.com", "wrong", HOME, device)
    with pytest.raises(TooManyTries):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME, devices[0])


async def test_an_operator_ends_everybodys_sessions_on_record(door: Door) -> None:
    people = [await door.join(f"{name}@example.com") for name in ("ada", "eve")]
    with pytest.raises(ValueError, match="reason"):
        async with door.database.begin() as connection:
            await end_everybodys_sessions(connection, "root", "", door.clock)
    assert None not in [await door.signed(one.session) for one in people]
    async with door.database.begin() as connection:
        assert await end_everybodys_sessions(connection, "root", "a stolen dump", door.clock) == 4
        (entry,) = await recent_audit(connection, 1)
    assert (entry.actor, entry.subject, entry.reason) == ("root", "everybody", "a stolen dump")
    assert [await door.signed(one.session) for one in people] == [None, None]


async def test_what_is_over_is_not_kept(door: Door) -> None:
    entered = await door.join()
    door.clock.now += sessions.LIFETIMES["customer"].whole - timedelta(seconds=1)
    await door.entering.sign_in("ada@example.com", PASSWORD, HOME)
    door.clock.turn(seconds=1)
    async with door.database.begin() as connection:
        await sessions.forget(connection, door.clock())
        (left,) = await sessions.of(connection, 1, door.clock())
    assert left.created_at == door.clock() - timedelta(seconds=1)
    assert await door.signed(entered.session) is None


async def test_checking_a_password_takes_as_long_for_nobody() -> None:
    """Each pair in turn; the medians may differ by what the machine does, not by what a hash costs."""
    passwords = Passwords()
    hashed = await passwords.hash(PASSWORD)
    times: dict[str, list[float]] = {"somebody": [], "nobody": []}
    assert hashed.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    for _ in range(9):
        for who, stored in (("somebody", hashed), ("nobody", None)):
            began = time.process_time()
            assert not await passwords.is_right("wrong", stored)
            times[who].append(time.process_time() - began)
    somebody, nobody = (statistics.median(times[who]) for who in ("somebody", "nobody"))
    assert 0.5 < nobody / somebody < 2


async def test_a_known_browser_in_another_country_is_told_of_and_another_network_is_not(
    fresh_url: str, passwords: Passwords, tmp_path: Path
) -> None:
    places = Places(write_places(tmp_path / "places.mmdb"))
    door = Door(Database(fresh_url, pool_size=8), passwords, places=places)
    entered = await door.join()
    told = []
    for address in ("203.0.113.7", "100.64.1.1", "198.51.100.7", "198.51.100.8", "192.0.2.9"):
        origin = Origin(address, "Firefox on Linux")
        await door.entering.sign_in("ada@example.com", PASSWORD, origin, entered.device)
        told.append([one.kind for one in await door.mail()])
    assert told == [[], [], [NEW_COUNTRY], [], []]
    await door.database.close()


async def test_without_a_database_of_places_no_country_is_news(door: Door) -> None:
    entered = await door.join()
    await door.entering.sign_in("ada@example.com", PASSWORD, Origin("198.51.100.7", "x"), entered.device)
    assert await door.mail() == []
