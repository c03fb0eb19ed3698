"""``make bench``; ``make bench ARGS=settlement`` runs one of them."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench import attacks, door, dtype, growth, isolation, relay, settlement, site, threads
from tests.bench.report import show, write_section

RESULTS = Path("var/bench.json")
Measure = Callable[[], Mapping[str, float | int | str]]
SECTIONS: dict[str, tuple[str, Measure]] = {
    "relay": ("gateway against a stub engine, 64 chunks at 10 ms, 32 at a time", relay.measure),
    "settlement": ("hold + settle through the real code, beside two plain transactions", settlement.measure),
    "isolation": ("what tenants can tell of each other by time, over the whole system", isolation.measure),
    "door": ("what strangers can do to the gateway, and what a bystander notices", door.measure),
    "attacks": ("wrong passwords by the thousand, and what the forms tell of who has an account", attacks.measure),
    "dtype": ("the sample model on processors in float32 and bfloat16", dtype.measure),
    "threads": ("how the engine's threads wait for each other on a processor", threads.measure),
    "site": ("the pages with ten million usage rows, and the gateway while people click", site.measure),
    "growth": ("the same with ten million usage rows and a hundred thousand accounts", growth.measure),
}


def main(wanted: list[str]) -> None:
    for section in wanted or list(SECTIONS):
        if section not in SECTIONS:
            raise SystemExit(f"there is no benchmark {section!r}: {', '.join(SECTIONS)}")
        title, measure = SECTIONS[section]
        figures = measure()
        show(f"{section}: {title}", figures)
        write_section(RESULTS, section, figures)


main(sys.argv[1:])
