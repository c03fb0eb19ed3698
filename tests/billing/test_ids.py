"""Ids as others read them: RFC 9562's version 7, in the order of their moments."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from billing.ids import lowest_id, new_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(1_700_000_000_000_000, 7_000_000_000_000_000).map(
    lambda microseconds: EPOCH + timedelta(microseconds=microseconds)
)


@given(moments)
def test_an_id_is_a_uuid_of_version_7_that_tells_its_moment(moment: datetime) -> None:
    made = new_id(moment)
    assert isinstance(made, UUID)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert {UUID(str(made)): True}[made]
    since = timedelta(milliseconds=made.int >> 80)
    assert timedelta(0) <= moment - EPOCH - since <= timedelta(milliseconds=1)


@given(moments)
def test_the_lowest_id_of_a_moment_parts_what_was_before_from_what_comes(moment: datetime) -> None:
    lowest = lowest_id(moment)
    assert lowest <= new_id(moment)
    assert new_id(moment - timedelta(milliseconds=2)) < lowest


def test_ids_of_one_moment_differ_in_every_random_bit() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_id(moment).int for _ in range(1_000)]
    assert len(set(ids)) == len(ids)
    differ = 0
    for one in ids:
        differ |= one ^ ids[0]
    assert differ == (1 << 76) - 1 ^ 0b11 << 62
