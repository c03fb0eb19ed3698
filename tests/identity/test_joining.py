"""From the form to an account."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from appliance.identity.errors import IdentityError, LinkInvalid, TooManyTries
from appliance.identity.joining import LINK_LASTS, Form
from appliance.identity.origin import Origin
from appliance.identity.tables import acceptance
from billing.customers.accounts import create_account, find_account
from tests.identity.conftest import HOME, PASSWORD, Door


async def test_who_confirms_in_the_browser_that_applied_is_signed_in_with_an_account(door: Door) -> None:
    browser = await door.apply("Ada.Lovelace@Example.com", name=" Ada   Lovelace ")
    async with door.database.begin() as connection:
        assert await find_account(connection, "ada.lovelace@example.com") is None
    link = await door.link()
    assert link is not None
    signed = await door.signed(await door.joining.confirm(link, HOME, browser=browser))
    assert signed is not None
    assert (signed.name, signed.email) == ("Ada Lovelace", "Ada.Lovelace@example.com")
    assert (signed.role, signed.status, signed.language) == ("customer", "active", "en")
    async with door.database.begin() as connection:
        account = await find_account(connection, "ada.lovelace@example.com")
        accepted = (await connection.execute(select(acceptance))).one()
    assert account is not None
    assert (account.id, account.balance_nanodollars) == (signed.account_id, 0)
    assert (accepted.terms, accepted.address, accepted.accepted_at) == ("2025-10-28", HOME.address, door.clock())


async def test_in_another_browser_the_link_alone_does_not_do_but_the_password_does(door: Door) -> None:
    """A stranger who applied with somebody's email does not get an account that its owner confirmed."""
    await door.apply()
    link = await door.link()
    assert link is not None
    with pytest.raises(LinkInvalid, match="password"):
        await door.joining.confirm(link, HOME)
    with pytest.raises(LinkInvalid, match="password"):
        await door.joining.confirm(link, HOME, browser="planted", password="not this one at all")
    assert await door.signed(await door.joining.confirm(link, HOME, password=PASSWORD)) is not None


async def test_a_link_works_once_and_a_day_long_and_a_newer_one_replaces_it(door: Door) -> None:
    browser = await door.apply()
    old = await door.link()
    await door.apply("late@example.com")
    door.clock.turn(minutes=20)
    again = await door.apply()
    new = await door.link()
    assert old is not None
    assert new is not None
    await door.joining.confirm(new, HOME, browser=again)
    for link, cookie in ((new, again), (old, browser)):
        with pytest.raises(LinkInvalid):
            await door.joining.confirm(link, HOME, browser=cookie)
    late = await door.apply("later@example.com")
    too_old = await door.link()
    assert too_old is not None
    door.clock.now += LINK_LASTS
    with pytest.raises(LinkInvalid):
        await door.joining.confirm(too_old, HOME, browser=late)


async def test_who_applies_for_an_email_that_has_an_account_is_answered_alike_and_gets_no_link(door: Door) -> None:
    await door.join("ada@example.com")
    browser = await door.apply("ADA@example.com", name="Somebody else", password="another long one, 7 of them")
    assert len(browser) == len(await door.apply("nobody@example.com"))
    first, second = await door.mail()
    assert (first.kind, first.email) == (second.kind, "ADA@example.com")
    await door.apply("ada@EXAMPLE.com")
    assert await door.link() is None


async def test_letters_that_fold_into_one_another_are_of_different_domains(door: Door) -> None:
    """straße.de is not strasse.de: who owns the one gets no mail for the other's account."""
    await door.join("ada@strasse.de")
    await door.apply("ada@straße.de")
    (one,) = await door.mail()
    assert one.email == "ada@xn--strae-oqa.de"
    await door.credentials.forgot("ada@straße.de", "en", HOME)
    assert await door.reset_link("ada@xn--strae-oqa.de") is None


async def test_an_international_domain_is_typed_in_either_way(door: Door) -> None:
    entered = await door.join("ada@bücher.example")
    for typed in ("ada@bücher.example", "ADA@XN--BCHER-KVA.example", "ada@bu\u0308cher.example"):
        await door.entering.sign_in(typed, PASSWORD, HOME, entered.device)


async def test_two_who_confirm_the_same_email_at_once_make_one_account(door: Door) -> None:
    first, one = await door.apply(), await door.link()
    door.clock.turn(minutes=1)
    second, two = await door.apply(), await door.link()
    assert one is not None
    assert two is not None
    done = await asyncio.gather(
        *(door.joining.confirm(link, HOME, browser=cookie) for link, cookie in ((one, first), (two, second)) * 3),
        return_exceptions=True,
    )
    assert sum(isinstance(result, str) for result in done) == 1
    assert all(isinstance(result, str | LinkInvalid) for result in done)
    assert await door.applicants() == 0


async def test_an_account_that_the_operator_named_like_an_email_is_not_taken_over(door: Door) -> None:
    async with door.database.begin() as connection:
        other = await create_account(connection, "ada@example.com", "operator", door.clock)
    signed = await door.signed((await door.join("ada@example.com")).session)
    assert signed is not None
    assert signed.account_id != other.id
    assert signed.role == "customer"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "a\nb\x00c"), ("name", "x" * 101), ("email", "no address"),
        ("email", "a@b\nBcc: c@d.com"), ("email", "å@example.com"),
        ("email", "x" * 250 + "@example.com"), ("password", "short"), ("password", "x" * 257),
        ("password", "\ud800" * 20),
        ("password", "password12345"), ("password", "aaaaaaaaaaaaaaaa"), ("password", "ada@example.com"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_told_in_a_sentence_and_nothing_is_kept(
    door: Door, field: str, value: str
) -> None:
    form = Form("Ada", "ada@example.com", PASSWORD, "en", "2025-10-28")
    with pytest.raises(IdentityError, match=r"^[A-Z][^\n]*\.$"):
        await door.joining.apply(replace(form, **{field: value}), HOME)
    assert await door.applicants() == 0
    assert await door.mail() == []


async def test_one_network_or_one_email_cannot_be_applied_for_without_end(door: Door) -> None:
    for number in range(3):
        await door.apply("ada@example.com", Origin(f"203.0.113.{number}", "x"))
    with pytest.raises(TooManyTries) as refused:
        await door.apply("ada@example.com", Origin("203.0.113.9", "x"))
    assert 1 <= refused.value.retry_after_seconds <= 600
    for number in range(7):
        await door.apply("ada@example.com", Origin(f"203.0.{number}.1", "x"))
    with pytest.raises(TooManyTries):
        await door.apply("ada@example.com", Origin("203.0.99.1", "x"))
    door.clock.turn(minutes=1)
    await door.apply("ada@example.com", Origin("203.0.99.1", "x"))
    for number in range(10):
        await door.apply(f"{number}@example.com", Origin(f"192.0.2.{number}", "x"))
    with pytest.raises(TooManyTries):
        await door.apply("eleven@example.com", Origin("192.0.2.99", "x"))
    await door.apply("eleven@example.com", Origin("192.0.3.99", "x"))
