"""The keys that sign tokens: their lives overlap, and nobody reads them in the database."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from appliance.identity.openid import signing
from appliance.identity.openid.signing import KNOWN_AFTER, KNOWN_BEFORE, SIGNS, Keyring, published
from appliance.identity.openid.tables import openid_key
from tests.identity.conftest import PEPPER, Door

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MOMENT = timedelta(seconds=1)


async def test_the_next_key_is_known_before_it_signs_and_the_last_one_after(door: Door) -> None:
    keys = Keyring(door.database, PEPPER)
    first = await keys.signing(NOW)
    ends = NOW + SIGNS
    assert [one.id for one in await keys.known(ends - KNOWN_BEFORE - MOMENT)] == [first.id]
    _, second = await keys.known(ends - KNOWN_BEFORE)
    assert (await keys.signing(ends - MOMENT)).id == first.id
    assert (await keys.signing(ends)).id == second.id
    assert [one.id for one in await keys.known(ends + KNOWN_AFTER - MOMENT)] == [first.id, second.id]
    assert [one.id for one in await keys.known(ends + KNOWN_AFTER)] == [second.id]


async def test_after_a_long_silence_another_key_signs_at_once(door: Door) -> None:
    keys = Keyring(door.database, PEPPER)
    first = await keys.signing(NOW)
    later = NOW + 3 * SIGNS
    assert (await keys.signing(later)).id != first.id
    async with door.database.begin() as connection:
        await signing.forget(connection, later)
        left = (await connection.execute(select(openid_key.c.id))).scalars().all()
    assert first.id not in left


async def test_another_process_signs_with_the_same_key(door: Door) -> None:
    one, other = Keyring(door.database, PEPPER), Keyring(door.database, PEPPER)
    assert (await one.signing(NOW)).id == (await other.signing(NOW)).id


async def test_the_database_has_no_key_that_can_be_read_and_the_world_no_private_one(door: Door) -> None:
    keys = Keyring(door.database, PEPPER)
    key = await keys.signing(NOW)
    private = key.key.as_dict(private=True)
    async with door.database.begin() as connection:
        (sealed,) = (await connection.execute(select(openid_key.c.sealed))).scalars()
    assert b"PRIVATE" not in sealed
    (told,) = published(await keys.known(NOW))["keys"]
    assert set(told) == {"kty", "n", "e", "kid", "use", "alg"}
    assert told["n"] == private["n"]
    assert str(private["d"]) not in repr(key)


async def test_keys_of_another_pepper_count_no_more(door: Door) -> None:
    first = await Keyring(door.database, PEPPER).signing(NOW)
    again = Keyring(door.database, b"q" * 32)
    second = await again.signing(NOW + MOMENT)
    assert second.id != first.id
    assert [one.id for one in await again.known(NOW + MOMENT)] == [second.id]
