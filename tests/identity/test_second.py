"""The second factor."""

import asyncio
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from sqlalchemy import select

from appliance.identity import sessions
from appliance.identity.errors import TooManyTries, WrongCredentials
from appliance.identity.proofs import RECOVERY_CODE_USED
from appliance.identity.recovery import CODES
from appliance.identity.second import SECOND_FACTOR_OFF, SECOND_FACTOR_ON
from appliance.identity.sessions import Signed
from appliance.identity.tables import authenticator, recovery_code
from tests.identity.conftest import HOME, PASSWORD, Door


async def signed(door: Door, session: str) -> Signed:
    found = await door.signed(session)
    assert found is not None
    return found


async def enrol(door: Door) -> tuple[Signed, pyotp.TOTP, list[str]]:
    """Somebody with an authenticator; the moment of its first code is over."""
    me = await signed(door, (await door.join()).session)
    setup = await door.second.set_up(me, PASSWORD, "The Service")
    totp = pyotp.TOTP(setup.secret)
    codes = await door.second.begin(me, totp.at(door.clock()))
    door.clock.turn(minutes=5)
    await door.mail()
    return me, totp, codes


async def sign_in(door: Door) -> Signed:
    return await signed(door, (await door.entering.sign_in("ada@example.com", PASSWORD, HOME)).session)


async def test_with_an_authenticator_a_password_begins_a_session_and_a_code_completes_it(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    assert not me.incomplete
    setup = await door.second.set_up(me, PASSWORD, "The Service")
    asked = urlparse(setup.uri)
    assert (asked.scheme, asked.netloc) == ("otpauth", "totp")
    assert parse_qs(asked.query) == {"secret": [setup.secret], "issuer": ["The Service"]}
    assert not (await sign_in(door)).incomplete, "it does not count before a code of it was given"
    await door.mail()
    codes = await door.second.begin(me, pyotp.TOTP(setup.secret).at(door.clock()))
    assert len(set(codes)) == CODES
    assert [one.kind for one in await door.mail()] == [SECOND_FACTOR_ON]
    entered = await door.entering.sign_in("ada@example.com", PASSWORD, HOME)
    half = await signed(door, entered.session)
    assert half.incomplete
    door.clock.turn(seconds=30)
    token = await door.second.enter(half, pyotp.TOTP(setup.secret).at(door.clock()))
    assert not (await signed(door, token)).incomplete
    assert await door.signed(entered.session) is None, "the token of the incomplete session is worth nothing"


async def test_a_code_counts_once_and_only_about_now(door: Door) -> None:
    _, totp, _ = await enrol(door)
    half = await sign_in(door)
    for seconds in (-90, 90):
        with pytest.raises(WrongCredentials):
            await door.second.enter(half, totp.at(door.clock(), counter_offset=seconds // 30))
    code = totp.at(door.clock(), counter_offset=1)
    await door.second.enter(half, f" {code[:3]} {code[3:]} ")
    other = await sign_in(door)
    with pytest.raises(WrongCredentials):
        await door.second.enter(other, code)
    with pytest.raises(WrongCredentials):
        await door.second.enter(other, totp.at(door.clock()))


async def test_a_code_that_two_use_at_once_counts_for_one(door: Door) -> None:
    _, totp, _ = await enrol(door)
    halves = [await sign_in(door) for _ in range(4)]
    code = totp.at(door.clock())
    done = await asyncio.gather(*(door.second.enter(half, code) for half in halves), return_exceptions=True)
    assert sum(isinstance(one, str) for one in done) == 1


async def test_codes_cannot_be_guessed_without_end(door: Door) -> None:
    _, totp, codes = await enrol(door)
    half = await sign_in(door)
    for wrong in ("000000", "1", "", "\ud800", "\x00"):
        with pytest.raises(WrongCredentials):
            await door.second.enter(half, wrong)
    for right in (totp.at(door.clock()), codes[0]):
        with pytest.raises(TooManyTries):
            await door.second.enter(half, right)
    door.clock.turn(minutes=1)
    await door.second.enter(half, totp.at(door.clock()))


async def test_a_recovery_code_stands_in_once_and_the_owner_is_told(door: Door) -> None:
    me, _, codes = await enrol(door)
    assert (await door.second.factors(me)).codes_left == CODES
    half = await sign_in(door)
    await door.mail()
    await door.second.enter(half, codes[3].upper().replace("-", " "))
    assert [one.kind for one in await door.mail()] == [RECOVERY_CODE_USED]
    assert (await door.second.factors(me)).codes_left == CODES - 1
    with pytest.raises(WrongCredentials):
        await door.second.enter(await sign_in(door), codes[3])


async def test_who_has_no_second_factor_yet_can_do_nothing_else(door: Door) -> None:
    """Whoever knows the password only must not be able to replace the authenticator."""
    await enrol(door)
    half = await sign_in(door)
    await door.mail()
    with pytest.raises(WrongCredentials):
        await door.second.set_up(half, PASSWORD, "x")
    with pytest.raises(WrongCredentials):
        await door.second.begin(half, "123456")
    with pytest.raises(WrongCredentials):
        await door.second.turn_off(half, PASSWORD, "123456")
    with pytest.raises(WrongCredentials):
        await door.credentials.change_password(half, PASSWORD, "an entirely new one of 9 words")
    with pytest.raises(WrongCredentials):
        await door.credentials.change_email(half, PASSWORD, "eve@example.com")
    with pytest.raises(WrongCredentials):
        await door.credentials.confirm_email(half, "any")
    assert await door.mail() == []


async def test_a_session_that_a_reset_has_ended_sets_up_nothing(door: Door) -> None:
    """Else a stranger's authenticator would make the owner's new password useless."""
    stranger = await signed(door, (await door.join()).session)
    setup = await door.second.set_up(stranger, PASSWORD, "x")
    async with door.database.begin() as connection:
        await sessions.end_all(connection, stranger.account_id)
    with pytest.raises(WrongCredentials):
        await door.second.begin(stranger, pyotp.TOTP(setup.secret).at(door.clock()))
    with pytest.raises(WrongCredentials):
        await door.second.set_up(stranger, PASSWORD, "x")
    assert not (await sign_in(door)).incomplete


async def test_a_sign_in_beside_the_setting_up_is_either_ended_or_incomplete(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    setup = await door.second.set_up(me, PASSWORD, "x")
    code = pyotp.TOTP(setup.secret).at(door.clock())
    enrolling = asyncio.create_task(door.second.begin(me, code))
    entered = await asyncio.gather(*(door.entering.sign_in("ada@example.com", PASSWORD, HOME) for _ in range(6)))
    await enrolling
    found = [await door.signed(one.session) for one in entered]
    assert all(one is None or one.incomplete for one in found)


async def test_a_session_that_was_left_open_cannot_change_the_second_factor(door: Door) -> None:
    me, totp, _ = await enrol(door)
    with pytest.raises(WrongCredentials):
        await door.second.set_up(me, "wrong", "x")
    with pytest.raises(WrongCredentials):
        await door.second.turn_off(me, "wrong", totp.at(door.clock()))
    with pytest.raises(WrongCredentials):
        await door.second.turn_off(me, PASSWORD, "000000")
    assert (await sign_in(door)).incomplete
    await door.mail()
    await door.second.turn_off(me, PASSWORD, totp.at(door.clock()))
    assert [one.kind for one in await door.mail()] == [SECOND_FACTOR_OFF]
    assert not (await sign_in(door)).incomplete


async def test_a_new_authenticator_replaces_the_old_one_and_its_codes_when_it_is_confirmed(door: Door) -> None:
    me, old, codes = await enrol(door)
    for wrong in ("", "000000"):
        with pytest.raises(WrongCredentials):
            await door.second.set_up(me, PASSWORD, "x", wrong)
    setup = await door.second.set_up(me, PASSWORD, "x", old.at(door.clock()))
    door.clock.turn(minutes=5)
    await door.second.enter(await sign_in(door), old.at(door.clock()))
    door.clock.turn(minutes=5)
    await door.second.begin(me, pyotp.TOTP(setup.secret).at(door.clock()))
    door.clock.turn(minutes=5)
    half = await sign_in(door)
    for gone in (old.at(door.clock()), codes[0]):
        with pytest.raises(WrongCredentials):
            await door.second.enter(half, gone)
    await door.second.enter(half, pyotp.TOTP(setup.secret).at(door.clock()))


async def test_the_database_holds_neither_secret_nor_code(door: Door) -> None:
    me, totp, codes = await enrol(door)
    await door.second.set_up(me, PASSWORD, "x", codes[0])
    async with door.database.begin() as connection:
        rows = [
            tuple(row)
            for table in (authenticator, recovery_code)
            for row in await connection.execute(select(table))
        ]
    held = repr(rows).lower()
    for text in (totp.secret, *codes, *(code.replace("-", "") for code in codes)):
        assert text.lower() not in held
