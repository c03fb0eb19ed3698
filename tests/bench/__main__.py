"""``make bench``."""

from pathlib import Path

from tests.bench import relay
from tests.bench.report import show, write_section

RESULTS = Path("var/bench.json")


def main() -> None:
    figures = relay.measure()
    show("relay: gateway against a stub engine, 64 chunks at 10 ms, 32 at a time", figures)
    write_section(RESULTS, "relay", figures)


main()
