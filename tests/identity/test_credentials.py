"""Changing what opens the door."""

import asyncio

import pytest

from appliance.identity.credentials import (
    EMAIL_CHANGED,
    PASSWORD_CHANGED,
    RESET_LASTS,
    new_email_link,
    new_reset_link,
)
from appliance.identity.errors import InvalidEmail, LinkInvalid, TooManyTries, WeakPassword, WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.identity.sessions import Signed
from billing.customers.accounts import find_account
from tests.identity.conftest import HOME, PASSWORD, Door

NEW = "an entirely new one of 9 words"


async def signed(door: Door, session: str) -> Signed:
    found = await door.signed(session)
    assert found is not None
    return found


async def reset_link(door: Door) -> str:
    await door.credentials.forgot("ada@example.com", "en", HOME)
    link = await door.reset_link()
    assert link is not None
    return link


async def test_a_forgotten_password_is_replaced_by_the_mail_and_every_session_ends(door: Door) -> None:
    entered = await door.join()
    known = await door.credentials.reset(await reset_link(door), NEW, HOME)
    assert [(one.kind, one.email) for one in await door.mail()] == [(PASSWORD_CHANGED, "ada@example.com")]
    assert await door.signed(entered.session) is None
    with pytest.raises(WrongCredentials):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME, known)
    await door.entering.sign_in("ada@example.com", NEW, HOME, known)
    assert await door.mail() == []
    await door.entering.sign_in("ada@example.com", NEW, HOME, entered.device)
    assert len(await door.mail()) == 1, "a browser that knew the old password is a stranger now"


async def test_the_owner_gets_in_by_the_mail_while_strangers_try(door: Door) -> None:
    await door.join()
    for number in range(20):
        with pytest.raises((WrongCredentials, TooManyTries)):
            await door.entering.sign_in("ada@example.com", "wrong", Origin(f"203.0.{number}.1", "x"))
    elsewhere = Origin("198.51.100.7", "x")
    with pytest.raises(TooManyTries):
        await door.entering.sign_in("ada@example.com", PASSWORD, elsewhere)
    known = await door.credentials.reset(await reset_link(door), NEW, elsewhere)
    await door.entering.sign_in("ada@example.com", NEW, elsewhere, known)


async def test_a_link_works_once_however_many_follow_it_at_once(door: Door) -> None:
    await door.join()
    link = await reset_link(door)
    done = await asyncio.gather(
        *(door.credentials.reset(link, f"{NEW} {number}", HOME) for number in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, str) for one in done) == 1
    assert sum(isinstance(one, LinkInvalid) for one in done) == 4
    (told,) = await door.mail()
    assert told.kind == PASSWORD_CHANGED


async def test_a_link_is_over_after_an_hour_and_when_a_newer_one_was_sent(door: Door) -> None:
    await door.join()
    first = await reset_link(door)
    second = await reset_link(door)
    with pytest.raises(LinkInvalid):
        await door.credentials.reset(first, NEW, HOME)
    with pytest.raises(WeakPassword):
        await door.credentials.reset(second, "password123", HOME)
    door.clock.now += RESET_LASTS
    with pytest.raises(LinkInvalid):
        await door.credentials.reset(second, NEW, HOME)
    for made_up in ("", "x", "\x00", "\ud800", "é" * 1000):
        with pytest.raises(LinkInvalid):
            await door.credentials.reset(made_up, NEW, HOME)


async def test_whoever_asks_for_an_email_without_an_account_is_answered_alike_and_no_mail_is_sent(
    door: Door,
) -> None:
    await door.credentials.forgot("nobody@example.com", "en", HOME)
    assert await door.reset_link("nobody@example.com") is None
    with pytest.raises(InvalidEmail):
        await door.credentials.forgot("nobody", "en", HOME)
    for _ in range(2):
        await door.credentials.forgot("nobody@example.com", "en", HOME)
    with pytest.raises(TooManyTries):
        await door.credentials.forgot("nobody@example.com", "en", HOME)


async def test_a_known_password_is_changed_by_itself_and_the_other_sessions_end(door: Door) -> None:
    here = await door.join()
    there = await door.entering.sign_in("ada@example.com", PASSWORD, HOME, here.device)
    me = await signed(door, here.session)
    with pytest.raises(WrongCredentials):
        await door.credentials.change_password(me, "wrong", NEW)
    with pytest.raises(WeakPassword):
        await door.credentials.change_password(me, PASSWORD, "ada@example.com")
    known = await door.credentials.change_password(me, PASSWORD, NEW)
    assert await door.signed(here.session) is not None
    assert await door.signed(there.session) is None
    await door.entering.sign_in("ada@example.com", NEW, HOME, known)
    assert [one.kind for one in await door.mail()] == [PASSWORD_CHANGED]


async def test_a_session_that_was_left_open_does_not_let_anybody_try_passwords_without_end(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    for _ in range(10):
        with pytest.raises(WrongCredentials):
            await door.credentials.change_password(me, "wrong", NEW)
    with pytest.raises(TooManyTries):
        await door.credentials.change_password(me, PASSWORD, NEW)


async def test_an_email_changes_when_the_new_one_is_confirmed_and_the_old_one_is_told(door: Door) -> None:
    here = await door.join()
    me = await signed(door, here.session)
    with pytest.raises(WrongCredentials):
        await door.credentials.change_email(me, "wrong", "ada@example.org")
    await door.credentials.change_email(me, PASSWORD, "ada@example.org")
    link = await door.email_link()
    assert link is not None
    assert (await signed(door, here.session)).email == "ada@example.com"
    await door.credentials.confirm_email(me, link)
    assert (await signed(door, here.session)).email == "ada@example.org"
    assert [(one.kind, one.email) for one in await door.mail()] == [(EMAIL_CHANGED, "ada@example.com")]
    await door.entering.sign_in("ada@example.org", PASSWORD, HOME, here.device)
    with pytest.raises(WrongCredentials):
        await door.entering.sign_in("ada@example.com", PASSWORD, HOME, here.device)
    with pytest.raises(LinkInvalid):
        await door.credentials.confirm_email(me, link)


async def test_an_owner_who_resets_wins_against_whoever_changes_the_password_at_that_moment(
    door: Door, passwords: Passwords
) -> None:
    """A stranger with a session and the old password, whose change is under way when the owner's reset ends."""
    stranger = await signed(door, (await door.join()).session)
    link = await reset_link(door)

    class Meanwhile(Passwords):
        async def hash(self, password: str, *, stranger: bool = False) -> str:
            door.credentials._passwords = passwords
            await door.credentials.reset(link, NEW, HOME)
            return await passwords.hash(password)

    door.credentials._passwords = Meanwhile()
    with pytest.raises(WrongCredentials):
        await door.credentials.change_password(stranger, PASSWORD, "the stranger's own of 7 words")
    await door.entering.sign_in("ada@example.com", NEW, HOME)
    with pytest.raises(WrongCredentials):
        await door.credentials.change_email(stranger, NEW, "eve@example.com")


async def test_a_reset_ends_a_change_of_email_that_was_asked_for_before(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    await door.credentials.change_email(me, PASSWORD, "eve@example.com")
    link = await door.email_link()
    assert link is not None
    await door.credentials.change_email(me, PASSWORD, "eve@example.com")
    waiting = await door.mail()
    await door.credentials.reset(await reset_link(door), NEW, HOME)
    again = await signed(door, (await door.entering.sign_in("ada@example.com", NEW, HOME)).session)
    with pytest.raises(LinkInvalid):
        await door.credentials.confirm_email(again, link)
    async with door.database.begin() as connection:
        (about,) = {one.about for one in waiting}
        assert about is not None
        assert await new_email_link(connection, about, "eve@example.com", door.clock()) is None


async def test_an_account_is_called_by_its_new_email(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    await door.credentials.change_email(me, PASSWORD, "Ada@Example.org")
    link = await door.email_link()
    assert link is not None
    await door.credentials.confirm_email(me, link)
    async with door.database.begin() as connection:
        found = await find_account(connection, "ada@example.org")
    assert found is not None
    assert found.id == me.account_id


async def test_links_that_are_written_at_once_are_one(door: Door) -> None:
    await door.join()

    async def write() -> None:
        async with door.database.begin() as connection:
            assert await new_reset_link(connection, "ada@example.com", door.clock()) is not None

    await asyncio.gather(*(write() for _ in range(6)))


async def test_a_link_that_went_to_an_address_before_is_worth_nothing(door: Door) -> None:
    me = await signed(door, (await door.join()).session)
    to_the_old = await reset_link(door)
    await door.credentials.change_email(me, PASSWORD, "ada@example.org")
    link = await door.email_link()
    assert link is not None
    await door.credentials.confirm_email(me, link)
    with pytest.raises(LinkInvalid):
        await door.credentials.reset(to_the_old, NEW, HOME)


async def test_a_link_of_another_account_gives_nothing(door: Door) -> None:
    ada = await signed(door, (await door.join()).session)
    eve = await signed(door, (await door.join("eve@example.com")).session)
    await door.credentials.change_email(ada, PASSWORD, "ada@example.org")
    link = await door.email_link()
    assert link is not None
    with pytest.raises(LinkInvalid):
        await door.credentials.confirm_email(eve, link)
    with pytest.raises(LinkInvalid):
        await door.credentials.reset(link, NEW, HOME)
    await door.credentials.confirm_email(ada, link)


async def test_an_email_that_another_account_has_cannot_be_taken(door: Door) -> None:
    ada = await signed(door, (await door.join()).session)
    await door.credentials.change_email(ada, PASSWORD, "eve@example.com")
    link = await door.email_link()
    assert link is not None
    await door.join("EVE@example.com")
    with pytest.raises(LinkInvalid):
        await door.credentials.confirm_email(ada, link)
    await door.credentials.change_email(ada, PASSWORD, "eve@example.com")
    assert await door.email_link() is None
