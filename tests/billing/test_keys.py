"""API keys."""

import math
from datetime import timedelta
from uuid import uuid4

import pytest

from billing.charging.admission import Refusal
from billing.customers import keys
from billing.database.purposes import CHAT
from billing.errors import Conflict
from tests.billing.conftest import PEPPER, Bank

DOLLAR = 10**9


def test_a_key_is_recognised_by_its_form_alone() -> None:
    key = keys.generate_key()
    assert key.startswith("sk-ap-")
    assert keys.is_well_formed(key)
    assert keys.RANDOM_DIGITS * math.log2(62) >= 160


def test_a_mistyped_key_is_refused_without_asking_the_database() -> None:
    key = keys.generate_key()
    for position in range(len(key)):
        other = "a" if key[position] != "a" else "b"
        assert not keys.is_well_formed(key[:position] + other + key[position + 1 :])
    assert not keys.is_well_formed(key + "a")
    assert not keys.is_well_formed("")
    assert not keys.is_well_formed("é" * keys.LENGTH)


def test_keys_do_not_repeat_and_a_digest_needs_the_pepper() -> None:
    made = {keys.generate_key() for _ in range(1000)}
    assert len(made) == 1000
    key = made.pop()
    assert keys.digest(b"a" * 32, key) != keys.digest(b"b" * 32, key)
    assert key.encode() not in keys.digest(b"a" * 32, key)


async def test_a_key_with_an_end_is_good_until_then(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    end = bank.clock() + timedelta(days=30)
    async with bank.database.begin() as connection:
        key, text = await keys.create_key(connection, customer.account_id, "short", PEPPER, bank.clock, end)
    digest = keys.digest(PEPPER, text)
    bank.clock.now = end - timedelta(microseconds=1)
    assert await customer.admitted(key_digest=digest)
    bank.clock.now = end
    assert await customer.refusal(key_digest=digest) is Refusal.INVALID_KEY
    async with bank.database.begin() as connection:
        assert await keys.owner_of(connection, digest, end) is None
        assert not key.is_good(end)


async def test_an_account_has_one_key_for_its_own_pages_and_the_newest_is_good(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)

    async def renewed() -> bytes:
        async with bank.database.begin() as connection:
            hour = timedelta(hours=1)
            return keys.digest(
                PEPPER, await keys.renew_playground_key(connection, customer.account_id, PEPPER, bank.clock, hour)
            )

    first, second = await renewed(), await renewed()
    assert await customer.refusal(key_digest=first) is Refusal.INVALID_KEY
    assert await customer.admitted(key_digest=second)
    for _ in range(6):  # after some, the database plans a statement without a look at its values
        second = await renewed()
    async with bank.database.begin() as connection:
        assert len(await keys.list_keys(connection, customer.account_id)) == 2
        await keys.end_playground_key(connection, customer.account_id)
    assert await customer.refusal(key_digest=second) is Refusal.INVALID_KEY


async def test_an_account_has_one_key_for_its_chat_which_is_good_while_its_owner_is_signed_on(bank: Bank) -> None:
    customer, subject = await bank.customer(DOLLAR), uuid4()
    digest, end = keys.chat_digest(PEPPER, subject), bank.clock() + timedelta(minutes=10)

    async def renew() -> None:
        async with bank.database.begin() as connection:
            await keys.renew_chat_key(connection, customer.account_id, subject, PEPPER, bank.clock, end)

    assert await customer.refusal(key_digest=digest) is Refusal.INVALID_KEY
    await renew()
    assert await customer.admitted(key_digest=digest)
    async with bank.database.begin() as connection:
        await keys.end_chat_key(connection, customer.account_id)
    assert await customer.refusal(key_digest=digest) is Refusal.INVALID_KEY
    await renew()
    assert await customer.admitted(key_digest=digest)
    async with bank.database.begin() as connection:
        chat = [key for key in await keys.list_keys(connection, customer.account_id) if key.purpose == CHAT]
        with pytest.raises(Conflict, match="is the chat's"):
            await keys.revoke_key(connection, chat[0].id, bank.clock)
    for _ in range(6):
        await renew()
    assert [(key.name, key.expires_at) for key in chat] == [("chat", end)]
    bank.clock.now = end
    assert await customer.refusal(key_digest=digest) is Refusal.INVALID_KEY


async def test_whose_chat_ended_with_a_suspension_is_told_of_the_suspension(bank: Bank) -> None:
    customer, subject = await bank.customer(DOLLAR), uuid4()
    digest, end = keys.chat_digest(PEPPER, subject), bank.clock() + timedelta(minutes=10)
    async with bank.database.begin() as connection:
        await keys.renew_chat_key(connection, customer.account_id, subject, PEPPER, bank.clock, end)
    await bank.standings.suspend(customer.account_id, "operator", "spam")
    async with bank.database.begin() as connection:
        await keys.end_chat_key(connection, customer.account_id)
    assert await customer.refusal(key_digest=digest) is Refusal.ACCOUNT_SUSPENDED
    await bank.standings.resume(customer.account_id, "operator", "settled")
    assert await customer.refusal(key_digest=digest) is Refusal.INVALID_KEY
