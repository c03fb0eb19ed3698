"""A database of places as an operator would have, small: a few networks that are set aside for documentation."""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

OSLO, TOKYO, BERGEN = ("NO", 59.91, 10.75), ("JP", 35.68, 139.69), ("NO", 60.39, 5.32)
NETWORKS = {"192.0.2.0/24": OSLO, "198.51.100.0/24": TOKYO, "203.0.113.0/24": BERGEN, "2001:db8::/48": TOKYO}


def write_places(path: Path) -> Path:
    """With countries and points; for 100.64.0.0/24 a country alone, for 100.64.1.0/24 nothing of use."""
    writer = MMDBWriter(6, "Test-City", languages=["en"], ipv4_compatible=True, float_type="f64")
    for network, (country, latitude, longitude) in NETWORKS.items():
        point = {"latitude": latitude, "longitude": longitude}
        writer.insert_network(IPSet([network]), {"country": {"iso_code": country}, "location": point})
    writer.insert_network(IPSet(["100.64.0.0/24"]), {"country": {"iso_code": "SE"}})
    writer.insert_network(IPSet(["100.64.1.0/24"]), {"continent": {"code": "EU"}})
    writer.to_db_file(str(path))
    return path
