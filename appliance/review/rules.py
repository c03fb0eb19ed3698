"""What is strange. Functions of what was seen, with the operator's thresholds; each gives the evidence. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from math import asin, cos, radians, sin, sqrt

from appliance.review.sightings import HOUR, Sighting
from appliance.settings import ReviewSettings, Signal

WINDOW = timedelta(hours=24)
MOST_NETWORKS = 50
"""How many of them the evidence names."""
EARTH_RADIUS_KM = 6371.0
HALF_ROUND_THE_EARTH_KM = 20_038.0


@dataclass(frozen=True, slots=True)
class Strange:
    """``evidence`` is numbers, times in ISO 8601 and networks; of one signal, more ``weight`` is stranger."""

    account_id: int
    signal: Signal
    evidence: dict[str, object]
    weight: float


@dataclass(frozen=True, slots=True)
class SignIn:
    """When somebody signed in, from which network, and where that is: country (ISO 3166), degrees."""

    account_id: int
    at: datetime
    network: str
    country: str
    latitude: float
    longitude: float


def many_networks(seen: Iterable[Sighting], limits: ReviewSettings) -> list[Strange]:
    """A key that is used from many networks, and from several of them at once: one person's telephone changes its
    network all day, but is in one or two places within an hour.
    """
    found = []
    for key_id, sightings in _by_key(seen).items():
        networks = sorted({one.network for one in sightings})
        by_hour = defaultdict(set)
        for one in sightings:
            by_hour[one.hour].add(one.network)
        at_once = max(len(together) for together in by_hour.values())
        if len(networks) >= limits.networks and at_once >= limits.networks_within_an_hour:
            evidence: dict[str, object] = {
                "key_id": key_id, "networks": len(networks), "networks_within_an_hour": at_once,
                "requests": sum(one.requests for one in sightings), "seen_from": networks[:MOST_NETWORKS],
            }  # fmt: skip
            found.append(Strange(sightings[0].account_id, "networks", evidence, len(networks)))
    return found


def many_refused(seen: Iterable[Sighting], limits: ReviewSettings) -> list[Strange]:
    """A key whose requests of one hour were very many, and refused nearly all."""
    found = []
    for key_id, sightings in _by_key(seen).items():
        for hour, together in groupby(sorted(sightings, key=_hour), key=_hour):
            of_hour = list(together)
            requests, refused = sum(one.requests for one in of_hour), sum(one.refused for one in of_hour)
            if refused >= limits.refused and refused * 100 > requests * limits.refused_percent:
                networks = sorted({one.network for one in of_hour if one.refused})
                evidence: dict[str, object] = {
                    "key_id": key_id, "hour": hour.isoformat(), "requests": requests, "refused": refused,
                    "seen_from": networks[:MOST_NETWORKS],
                }  # fmt: skip
                found.append(Strange(of_hour[0].account_id, "refused", evidence, refused))
    return found


def impossible_travel(sign_ins: Iterable[SignIn], limits: ReviewSettings) -> list[Strange]:
    """Two sign-ins of one person, one after the other, that nobody could travel between in the time."""
    found = []
    ordered = sorted(sign_ins, key=lambda one: (one.account_id, one.at))
    for _, together in groupby(ordered, key=lambda one: one.account_id):
        for before, after in pairwise(together):
            km = distance_km(before, after)
            hours = (after.at - before.at) / HOUR
            if km > limits.travel_km and km > hours * limits.travel_km_per_hour:
                evidence: dict[str, object] = {
                    "km": round(km), "minutes": round(hours * 60), "left": _told(before), "reached": _told(after),
                }  # fmt: skip
                found.append(Strange(after.account_id, "travel", evidence, km))
    return found


def strangest(found: Iterable[Strange]) -> list[Strange]:
    """Of each account and signal the one that is to be shown."""
    best: dict[tuple[int, str], Strange] = {}
    for one in found:
        known = best.get((one.account_id, one.signal))
        if known is None or one.weight > known.weight:
            best[one.account_id, one.signal] = one
    return list(best.values())


def longest_journey(limits: ReviewSettings) -> timedelta:
    """Sign-ins that are further apart can be no impossible travel: it is half round the Earth at that speed."""
    return timedelta(hours=HALF_ROUND_THE_EARTH_KM / limits.travel_km_per_hour)


def distance_km(one: SignIn, other: SignIn) -> float:
    """Along the Earth's surface (the haversine formula)."""
    latitude, other_latitude = radians(one.latitude), radians(other.latitude)
    across = sin((other_latitude - latitude) / 2) ** 2
    along = sin(radians(other.longitude - one.longitude) / 2) ** 2
    share = across + cos(latitude) * cos(other_latitude) * along
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, share)))


def _by_key(seen: Iterable[Sighting]) -> dict[int, Sequence[Sighting]]:
    by_key = defaultdict(list)
    for one in seen:
        by_key[one.key_id].append(one)
    return dict(by_key)


def _hour(one: Sighting) -> datetime:
    return one.hour


def _told(one: SignIn) -> dict[str, str]:
    return {"at": one.at.isoformat(), "network": one.network, "country": one.country}
