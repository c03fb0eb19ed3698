"""What is strange, and what an ordinary customer does that is not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from appliance.review.rules import (
    HALF_ROUND_THE_EARTH_KM,
    SignIn,
    Strange,
    distance_km,
    impossible_travel,
    longest_journey,
    many_networks,
    many_refused,
    strangest,
)
from appliance.review.sightings import Sighting
from appliance.settings import ReviewSettings

LIMITS = ReviewSettings()
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OSLO, TOKYO, DRAMMEN = ("NO", 59.91, 10.75), ("JP", 35.68, 139.69), ("NO", 59.74, 10.2)
PLACES = st.tuples(st.just("NO"), st.floats(-90, 90), st.floats(-180, 180))


def sighting(network: int, hour: int = 0, requests: int = 1, refused: int = 0, key: int = 1) -> Sighting:
    return Sighting(7, key, f"10.0.{network}.0/24", NOON + timedelta(hours=hour), requests, refused)


def sign_in(place: tuple[str, float, float], minutes: float = 0, account_id: int = 7) -> SignIn:
    return SignIn(account_id, NOON + timedelta(minutes=minutes), "192.0.2.0/24", *place)


def test_a_key_in_many_hands_is_used_from_many_networks_at_once() -> None:
    (found,) = many_networks([sighting(n, n % 3, requests=5) for n in range(12)], LIMITS)
    assert (found.account_id, found.signal) == (7, "networks")
    assert found.evidence["networks"] == 12
    assert found.evidence["networks_within_an_hour"] == 4
    assert found.evidence["requests"] == 60
    assert found.evidence["seen_from"] == sorted(f"10.0.{n}.0/24" for n in range(12))


def test_a_telephone_that_changes_its_network_all_day_is_one_persons() -> None:
    assert not many_networks([sighting(n, n // 2) for n in range(24)], LIMITS)


def test_an_office_and_two_homes_are_no_sharing() -> None:
    assert not many_networks([sighting(n, hour) for n in range(3) for hour in range(24)], LIMITS)


def test_the_networks_of_two_keys_are_not_added_up() -> None:
    assert not many_networks([sighting(n, key=n % 2) for n in range(14)], LIMITS)


def test_a_burst_of_refused_requests_of_whichever_networks_is_spam() -> None:
    (found,) = many_refused(
        [sighting(1, requests=600, refused=600), sighting(2, requests=500, refused=480)], LIMITS
    )
    assert (found.signal, found.evidence["refused"], found.evidence["requests"]) == ("refused", 1080, 1100)
    assert found.evidence["hour"] == NOON.isoformat()


def test_a_busy_key_that_meets_its_limits_is_no_spam() -> None:
    assert not many_refused([sighting(1, requests=20_000, refused=5_000)], LIMITS)
    assert not many_refused([sighting(1, requests=1000, refused=900)], LIMITS), (
        "nine tenths are not more than that"
    )
    assert not many_refused([sighting(1, hour, requests=999, refused=999) for hour in range(5)], LIMITS)


def test_nobody_is_in_oslo_and_an_hour_later_in_tokyo() -> None:
    (found,) = impossible_travel([sign_in(TOKYO, 60), sign_in(OSLO)], LIMITS)
    assert found.signal == "travel"
    assert found.evidence["minutes"] == 60
    assert 8300 < int(str(found.evidence["km"])) < 8500
    assert found.evidence["left"] == {"at": NOON.isoformat(), "network": "192.0.2.0/24", "country": "NO"}


def test_travellers_neighbours_and_two_people_are_not_found() -> None:
    assert not impossible_travel([sign_in(OSLO), sign_in(TOKYO, 11 * 60)], LIMITS)
    assert not impossible_travel([sign_in(OSLO), sign_in(DRAMMEN)], LIMITS)
    assert not impossible_travel([sign_in(OSLO), sign_in(TOKYO, 1, account_id=8)], LIMITS)


@given(PLACES, PLACES)
def test_a_distance_is_one_both_ways_and_no_longer_than_half_the_earth(
    one: tuple[str, float, float], other: tuple[str, float, float]
) -> None:
    there, back = distance_km(sign_in(one), sign_in(other)), distance_km(sign_in(other), sign_in(one))
    assert abs(there - back) < 0.001
    assert 0 <= there < HALF_ROUND_THE_EARTH_KM
    assert distance_km(sign_in(one), sign_in(one)) < 0.001


@given(PLACES, PLACES, st.floats(1, 10_000))
def test_sign_ins_that_are_too_far_apart_to_be_looked_at_are_never_strange(
    one: tuple[str, float, float], other: tuple[str, float, float], speed: float
) -> None:
    limits = ReviewSettings(travel_km_per_hour=speed)
    minutes = longest_journey(limits) / timedelta(minutes=1)
    assert not impossible_travel([sign_in(one), sign_in(other, minutes)], limits)


FEW = ReviewSettings(networks=3, networks_within_an_hour=2)
SIGHTINGS = st.lists(
    st.builds(
        sighting, st.integers(0, 6), st.integers(0, 2), st.just(2000), st.integers(0, 2000), st.integers(1, 2)
    ),
    min_size=6,
)


@given(SIGHTINGS, SIGHTINGS)
def test_more_that_is_seen_makes_no_key_less_strange_to_the_rule_on_networks(
    seen: Sequence[Sighting], more: Sequence[Sighting]
) -> None:
    def keys(of: Sequence[Sighting]) -> set[object]:
        return {found.evidence["key_id"] for found in many_networks(of, FEW)}

    assert keys(seen) <= keys([*seen, *more])


def test_of_one_signal_the_strangest_is_shown() -> None:
    found = [Strange(7, "refused", {"refused": n}, n) for n in (1200, 5000, 3000)]
    assert strangest([*found, Strange(8, "refused", {}, 1), Strange(7, "travel", {}, 2)]) == [
        found[1], Strange(8, "refused", {}, 1), Strange(7, "travel", {}, 2),
    ]  # fmt: skip
