"""``make soak SECONDS=60 SEED=7``: world after world; exit status 1 on the first rule that is broken."""

import argparse
import random
import time

from tests.record import Ordeal, record
from tests.simulation.run import Broken, soak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    asked = parser.parse_args()
    print(f"worlds from seed {asked.seed} on, for {asked.seconds:g} s")  # noqa: T201
    end = time.monotonic() + asked.seconds

    def report(count: int, elapsed: float) -> None:
        print(f"{elapsed:6.0f} s  {count:>12,} operations  {count / elapsed:,.0f} a second", flush=True)  # noqa: T201

    try:
        count, seeds = soak(asked.seed, lambda _: time.monotonic() >= end, report)
    except Broken as broken:
        raise SystemExit(str(broken)) from None
    record(Ordeal.OPERATIONS, count)
    record(Ordeal.SEEDS, seeds)
    record(Ordeal.SOAK_SECONDS, asked.seconds)
    print(  # noqa: T201
        f"{count:,} operations, seeds {asked.seed} to {asked.seed + seeds - 1}, {asked.seconds:g} s:"
        " the code and the model agree"
    )


main()
