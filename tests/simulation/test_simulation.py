"""Operations on the ledger's real decisions, and a plain model that foresaw all; `make soak` makes millions."""

import random

import pytest

from billing.database.db import Database
from billing.proof import rules as ledger
from tests.record import Ordeal, record
from tests.simulation.faults import FAULTS, Fault, planted
from tests.simulation.ground import PostgresGround
from tests.simulation.run import Broken, check, failure, play, soak
from tests.simulation.world import Operation, history

OPERATIONS = 250_000
OPERATIONS_IN_POSTGRESQL = 50_000
SEED = 20_261_123
AN_ALLOWANCE_BY_A_CLOCK_THAT_IS_BEHIND: list[Operation] = [
    ("allow", 6, 1_000_000_000, 30, True),
    ("ask", [(6, 0, (65, 2, 1, False, 0, 0))], None),
    ("tick", -0.0034),
    ("allow", 6, 2456, 30, True),
    ("settle", [(1, 0.9, 0.3, 0.04, False)], None),
]
"""Found by `make soak`: the second one begins when the request was admitted, so it is spent after the first."""


@pytest.mark.timeout(1200)
def test_the_code_and_the_model_agree_over_a_quarter_of_a_million_operations() -> None:
    count, worlds = soak(SEED, lambda count: count >= OPERATIONS, lambda *_: None)
    assert count >= OPERATIONS
    record(Ordeal.OPERATIONS, count)
    record(Ordeal.SEEDS, worlds)


@pytest.mark.timeout(1200)
async def test_the_code_and_the_model_agree_over_fifty_thousand_operations_in_postgresql(
    fresh_url: str,
) -> None:
    database, seed, count = Database(fresh_url), SEED, 0
    while count < OPERATIONS_IN_POSTGRESQL:
        count += await play(history(random.Random(seed), 200, batch=20), PostgresGround(database))
        seed += 1
    async with database.snapshot() as connection:
        assert await ledger.verify(connection) == []
    await database.close()


def test_the_code_and_the_model_agree_where_they_once_did_not() -> None:
    assert failure(AN_ALLOWANCE_BY_A_CLOCK_THAT_IS_BEHIND) is None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_simulation_catches(fault: Fault) -> None:
    operations = history(random.Random(fault.seed), 400)
    assert failure(operations) is None
    with planted(fault):
        assert failure(operations) is not None


def test_a_failure_names_its_seed_and_the_shortest_history_found() -> None:
    fault = FAULTS[0]
    with planted(fault), pytest.raises(Broken, match=f"seed {fault.seed}: Difference: lot") as broken:
        check(fault.seed)
    assert len(broken.value.shortest) <= 8
