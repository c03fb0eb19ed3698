"""Where in the world a network is, by a database that the operator has: MaxMind's format, which others write too.

It is asked on this machine; no address goes anywhere.
"""

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

import maxminddb

log = logging.getLogger(__name__)


class PlacesUnreadable(Exception):
    """The file is not there, or is no such database; the message says which."""


@dataclass(frozen=True, slots=True)
class Point:
    """Degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Place:
    """``country`` is two letters (ISO 3166), ``point`` None where the database knows no more than the country."""

    country: str
    point: Point | None


class Places:
    """Without a database nothing is known of any network. To be opened once a process."""

    def __init__(self, path: Path | None) -> None:
        """Raises PlacesUnreadable."""
        self._reader: maxminddb.Reader | None = None
        if path is not None:
            try:
                self._reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
            except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
                raise PlacesUnreadable(f"{path} cannot be read as a database of places: {error}") from None

    def of(self, network: str) -> Place | None:
        """None if it is not known, as for networks that are nobody's own."""
        address = ipaddress.ip_network(network).network_address
        if self._reader is None or (address.version == 6 and self._reader.metadata().ip_version == 4):
            return None
        try:
            record = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        if not isinstance(record, dict):
            return None
        country, location = record.get("country"), record.get("location")
        code = country.get("iso_code") if isinstance(country, dict) else None
        return Place(code, _point(location)) if isinstance(code, str) else None


def open_places(path: Path | None) -> Places:
    """A file that cannot be read is none, and the log says so: nobody's sign-in or charge waits for it."""
    try:
        return Places(path)
    except PlacesUnreadable as error:
        log.error("%s", error)
        return Places(None)


def _point(location: object) -> Point | None:
    if not isinstance(location, dict):
        return None
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    return Point(float(latitude), float(longitude))
