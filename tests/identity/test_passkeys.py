"""Passkeys: what one opens, and what nobody opens with another's."""

import asyncio
import json
from dataclasses import replace

import pytest

from appliance.identity.errors import IdentityError, InvalidPersonName, TooManyTries, WrongCredentials
from appliance.identity.passkeys import ASKED, LASTS, MOST_PASSKEYS, Passkeys
from appliance.identity.recovery import CODES
from appliance.identity.second import PASSKEY_ADDED, PASSKEY_REMOVED
from appliance.identity.sessions import Signed
from appliance.identity.throttle import Throttle
from tests.identity.authenticator import SoftPasskey
from tests.identity.conftest import ADDRESS, HOME, PASSWORD, PEPPER, Door
from tests.identity.test_second import enrol, sign_in, signed


async def with_passkey(door: Door, email: str = "ada@example.com") -> tuple[Signed, SoftPasskey, list[str]]:
    """Somebody with one, which is their only second factor."""
    me, mine = await signed(door, (await door.join(email)).session), SoftPasskey(ADDRESS)
    codes = await add(door, me, mine)
    await door.mail()
    return me, mine, codes


async def add(door: Door, me: Signed, new: SoftPasskey, given: str = "") -> list[str]:
    return await door.second.add_passkey(
        me, "my telephone", new.create(await door.second.ask_new_passkey(me, PASSWORD, given))
    )


async def anybody(door: Door) -> str:
    return await door.second.ask_passkey(None, HOME)


async def test_a_passkey_signs_in_without_a_password(door: Door) -> None:
    me, mine, codes = await with_passkey(door)
    assert len(codes) == CODES
    entered = await door.entering.by_passkey(mine.get(await anybody(door)), HOME)
    again = await signed(door, entered.session)
    assert (again.account_id, again.incomplete, again.second) == (me.account_id, False, True)
    (one,) = (await door.second.factors(me)).passkeys
    assert (one.name, one.used_at) == ("my telephone", door.clock())


async def test_with_a_passkey_the_password_alone_opens_nothing(door: Door) -> None:
    _, mine, codes = await with_passkey(door)
    half = await sign_in(door)
    assert half.incomplete
    given = mine.get(await door.second.ask_passkey(half, HOME))
    assert not (await signed(door, await door.second.enter(half, given))).incomplete
    assert not (await signed(door, await door.second.enter(await sign_in(door), codes[0]))).incomplete


async def test_the_first_one_ends_the_other_sessions_and_its_owner_is_told(door: Door) -> None:
    other = (await door.join()).session
    me = await sign_in(door)
    await door.mail()
    await add(door, me, SoftPasskey(ADDRESS))
    assert await door.signed(other) is None
    assert [one.kind for one in await door.mail()] == [PASSKEY_ADDED]


async def test_what_was_signed_is_good_once(door: Door) -> None:
    _, mine, _ = await with_passkey(door)
    given = mine.get(await anybody(door))
    await door.entering.by_passkey(given, HOME)
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(given, HOME)


async def test_of_two_who_show_the_same_at_once_one_gets_in(door: Door) -> None:
    _, mine, _ = await with_passkey(door)
    given = mine.get(await anybody(door))
    tries = [door.entering.by_passkey(given, HOME) for _ in range(4)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(one, IdentityError) for one in outcomes) == 1


async def test_a_question_is_good_for_minutes_and_where_it_was_asked(door: Door) -> None:
    me, mine, _ = await with_passkey(door)
    half = await sign_in(door)
    for asked in (await anybody(door), await door.second.ask_passkey(me, HOME)):
        with pytest.raises(WrongCredentials):
            await door.second.enter(half, mine.get(asked))
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(mine.get(await door.second.ask_passkey(half, HOME)), HOME)
    asked = await anybody(door)
    door.clock.now += LASTS
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(mine.get(asked), HOME)


async def test_anothers_passkey_proves_nothing(door: Door) -> None:
    await with_passkey(door)
    _, theirs, _ = await with_passkey(door, "eve@example.com")
    half = await sign_in(door)
    asked = await door.second.ask_passkey(half, HOME)
    with pytest.raises(WrongCredentials):
        await door.second.enter(half, theirs.get(asked))


async def test_a_passkey_that_takes_anothers_name_proves_nothing(door: Door) -> None:
    _, mine, _ = await with_passkey(door)
    theirs = replace(SoftPasskey(ADDRESS), credential=mine.credential, handle=mine.handle)
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(theirs.get(await anybody(door)), HOME)
    _, eves, _ = await with_passkey(door, "eve@example.com")
    eves.handle = mine.handle
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(eves.get(await anybody(door)), HOME)


async def test_nobody_adds_anothers_passkey(door: Door) -> None:
    _, mine, _ = await with_passkey(door)
    eve = await signed(door, (await door.join("eve@example.com")).session)
    with pytest.raises(WrongCredentials):
        await add(door, eve, mine)


async def test_another_site_an_open_lock_and_a_copy_are_not_taken(door: Door) -> None:
    me, mine, codes = await with_passkey(door)
    for bad in (replace(mine, origin="https://site.example.evil"), replace(mine, unlocked=False)):
        with pytest.raises(WrongCredentials):
            await door.entering.by_passkey(bad.get(await anybody(door)), HOME)
        door.clock.turn(minutes=2)
        with pytest.raises(WrongCredentials):
            await add(door, me, replace(bad, credential=b"another"), codes.pop())
    copy = replace(mine)
    mine.used = 5
    await door.entering.by_passkey(mine.get(await anybody(door)), HOME)
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(copy.get(await anybody(door)), HOME)


@pytest.mark.parametrize(
    "given",
    [
        "", "{", "{}", '{"id": 7}', '{"id": "a"}', '{"id": "AAAA", "rawId": "AAAA"}', "[]", "null",
        '{"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}',
        json.dumps({"id": "\ud800"}), '{"a":' * 5000,
    ],
)  # fmt: skip
async def test_what_no_browser_says_is_refused(door: Door, given: str) -> None:
    me, mine, codes = await with_passkey(door)
    real = json.loads(mine.get(await anybody(door)))
    mangled = json.dumps(real | {"response": real["response"] | {"clientDataJSON": "e30", "signature": ""}})
    for text in (given, mangled):
        with pytest.raises(WrongCredentials):
            await door.entering.by_passkey(text, HOME)
    half = await sign_in(door)
    with pytest.raises(WrongCredentials):
        await door.second.enter(half, given)
    await door.second.ask_new_passkey(me, PASSWORD, codes[0])
    for text in (given, mangled):
        with pytest.raises(WrongCredentials):
            await door.second.add_passkey(me, "x", text)


async def test_to_add_or_remove_one_takes_the_password_and_the_factor_that_counts(door: Door) -> None:
    me, mine, codes = await with_passkey(door)
    (one,) = (await door.second.factors(me)).passkeys
    for password, given in (("wrong", codes[0]), (PASSWORD, ""), (PASSWORD, "000000")):
        with pytest.raises(WrongCredentials):
            await door.second.ask_new_passkey(me, password, given)
        with pytest.raises(WrongCredentials):
            await door.second.remove_passkey(me, one.id, password, given)
        door.clock.turn(minutes=2)
    given = mine.get(await door.second.ask_passkey(me, HOME))
    assert await add(door, me, SoftPasskey(ADDRESS), given) == []
    await door.mail()
    await door.second.remove_passkey(me, one.id, PASSWORD, codes[1])
    assert [kept.kind for kept in await door.mail()][-1] == PASSKEY_REMOVED
    with pytest.raises(WrongCredentials):
        await door.entering.by_passkey(mine.get(await anybody(door)), HOME)


async def test_who_has_not_given_the_second_factor_adds_none(door: Door) -> None:
    await with_passkey(door)
    half, new = await sign_in(door), SoftPasskey(ADDRESS)
    with pytest.raises(WrongCredentials):
        await add(door, half, new)
    with pytest.raises(WrongCredentials):
        await door.second.add_passkey(
            half, "x", new.create(json.dumps({"user": {"id": ""}, "challenge": "", "rp": {"id": ""}}))
        )


async def test_the_last_one_takes_the_recovery_codes_along(door: Door) -> None:
    me, _, codes = await with_passkey(door)
    (one,) = (await door.second.factors(me)).passkeys
    await door.second.remove_passkey(me, one.id, PASSWORD, codes[0])
    factors = await door.second.factors(me)
    assert (factors.passkeys, factors.codes_left) == ([], 0)
    assert not (await sign_in(door)).incomplete


async def test_beside_an_authenticator_each_stands_for_the_other(door: Door) -> None:
    me, totp, codes = await enrol(door)
    mine = SoftPasskey(ADDRESS)
    assert await add(door, me, mine, totp.at(door.clock())) == []
    await door.second.turn_off(me, PASSWORD, mine.get(await door.second.ask_passkey(me, HOME)))
    half = await sign_in(door)
    door.clock.turn(minutes=1)
    with pytest.raises(WrongCredentials):
        await door.second.enter(half, totp.at(door.clock()))
    await door.second.enter(half, codes[0])


async def test_a_name_has_letters_and_there_are_so_many_at_most(door: Door) -> None:
    me, mine, _ = await with_passkey(door)
    asked = await door.second.ask_new_passkey(me, PASSWORD, mine.get(await door.second.ask_passkey(me, HOME)))
    for name in ("", "  ", "x" * 61, "a\u202eb"):
        with pytest.raises(InvalidPersonName):
            await door.second.add_passkey(me, name, SoftPasskey(ADDRESS).create(asked))
    for _ in range(MOST_PASSKEYS - 1):
        door.clock.turn(minutes=2)
        await add(door, me, SoftPasskey(ADDRESS), mine.get(await door.second.ask_passkey(me, HOME)))
    door.clock.turn(minutes=2)
    with pytest.raises(WrongCredentials):
        await add(door, me, SoftPasskey(ADDRESS), mine.get(await door.second.ask_passkey(me, HOME)))


async def test_strangers_ask_so_often_and_no_more(door: Door) -> None:
    for _ in range(ASKED.at_once):
        await anybody(door)
    with pytest.raises(TooManyTries):
        await anybody(door)


async def test_a_new_password_or_email_takes_the_second_factor_too(door: Door) -> None:
    me, mine, codes = await with_passkey(door)
    for given in ("", "000000"):
        with pytest.raises(WrongCredentials):
            await door.credentials.change_email(me, PASSWORD, "eve@example.com", given)
        with pytest.raises(WrongCredentials):
            await door.credentials.change_password(me, PASSWORD, "an entirely new one of 9 words", given)
    door.clock.turn(minutes=2)
    await door.credentials.change_email(me, PASSWORD, "new@example.com", codes[0])
    given = mine.get(await door.second.ask_passkey(me, HOME))
    await door.credentials.change_password(me, PASSWORD, "an entirely new one of 9 words", given)


@pytest.mark.parametrize("address", ["https://Site.Example", "https://site.example:443", "https://site.example"])
async def test_the_sites_address_may_be_written_in_any_way(door: Door, address: str) -> None:
    me = await signed(door, (await door.join()).session)
    passkeys = Passkeys(address, "The Service", Throttle(PEPPER), PEPPER)
    async with door.database.begin() as connection:
        made = SoftPasskey(ADDRESS).create(await passkeys.to_add(connection, me, door.clock()))
        await passkeys.add(connection, me, "x", made, door.clock())


async def test_a_passkey_with_an_endless_name_or_a_makers_proof_is_not_taken(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    for bad in (SoftPasskey(ADDRESS, credential=b"x" * 2000), SoftPasskey(ADDRESS, proof="tpm")):
        with pytest.raises(WrongCredentials):
            await add(door, me, bad)
