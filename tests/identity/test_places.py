"""Where networks are, by the operator's file."""

from pathlib import Path

import pytest

from appliance.identity.places import Place, Places, PlacesUnreadable, Point, open_places
from tests.places import write_places


def test_a_place_is_a_country_and_a_point_as_far_as_they_are_known(tmp_path: Path) -> None:
    places = Places(write_places(tmp_path / "places.mmdb"))
    assert places.of("192.0.2.0/24") == Place("NO", Point(59.91, 10.75))
    assert places.of("2001:db8::/48") == Place("JP", Point(35.68, 139.69))
    assert places.of("100.64.0.0/24") == Place("SE", None)
    assert [places.of(network) for network in ("100.64.1.0/24", "127.0.0.0/24", "0.0.0.0/24", "::/48")] == [
        None
    ] * 4


def test_without_a_file_nothing_is_known() -> None:
    assert Places(None).of("192.0.2.0/24") is None


def test_a_file_that_is_no_database_stops_nobody_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other.mmdb").write_text("something else")
    for name in ("other.mmdb", "missing.mmdb"):
        with pytest.raises(PlacesUnreadable, match=name):
            Places(tmp_path / name)
        assert open_places(tmp_path / name).of("192.0.2.0/24") is None
        assert name in caplog.text
