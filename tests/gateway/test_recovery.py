"""A hold whose gateway is gone is settled by what the replicas say, and by nothing else."""

import os
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from appliance import secrets
from appliance.worker.recovery import GIVE_UP_AGE, LOST_AGE, ORPHAN_AGE, Recovery
from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Settlement
from billing.clock import system_clock
from billing.customers.keys import digest
from billing.ids import new_id
from billing.statements.usage import Usage
from billing.store.postgres import PostgresStore
from serving.client.published import Directory
from serving.client.replicas import EngineClient
from serving.metering.marks import path_of
from tests.gateway.conftest import DOLLAR, Customer, House, publish

METER = {"prompt_tokens": 12, "cached_tokens": 2, "completion_tokens": 5}


async def orphan(house: House, customer: Customer) -> UUID:
    """A request that was admitted by a gateway that then died."""
    request = Request(
        id=new_id(system_clock()),
        key_digest=digest(secrets.read(house.settings.secrets).key_pepper, customer.key),
        model="smollm2",
        endpoint="/v1/completions",
        prompt_limit=100,
        completion_limit=100,
    )
    assert isinstance(await Admission(PostgresStore(house.database), system_clock).admit(request), Admitted)
    return request.id


async def recover(house: House, age: timedelta) -> int:
    """One look of the worker, so much later."""

    def later() -> datetime:
        return system_clock() + age

    secret = secrets.read(house.settings.secrets).cluster_secret
    engine_client = EngineClient(Directory(house.settings.directory), secret)
    try:
        settlement = Settlement(PostgresStore(house.database), later)
        recovery = Recovery(house.database, settlement, engine_client, house.settings.meters, later)
        return await recovery.run_once()
    finally:
        await engine_client.close()


async def only_usage(customer: Customer) -> Usage:
    (usage,) = await customer.usage()
    return usage


@pytest.mark.parametrize("ended", ["complete", "cancelled", "failed"])
async def test_what_a_replica_metered_is_charged(house: House, ended: str) -> None:
    customer = await house.customer()
    request_id = await orphan(house, customer)
    house.stubs[1].meters[str(request_id)] = METER | {"ended": ended}
    assert await recover(house, ORPHAN_AGE - timedelta(seconds=5)) == 0
    assert await recover(house, ORPHAN_AGE) == 1
    usage = await only_usage(customer)
    assert (usage.completion_tokens, usage.ended) == (5, ended)
    assert usage.cost_nanodollars == 10 * 100 + 2 * 20 + 5 * 400
    assert await recover(house, ORPHAN_AGE) == 0
    assert await house.discrepancies() == []


async def test_a_request_that_runs_is_left_alone(house: House) -> None:
    customer = await house.customer()
    request_id = await orphan(house, customer)
    house.stubs[0].meters[str(request_id)] = METER | {"ended": None}
    assert await recover(house, timedelta(hours=1)) == 0
    assert (await customer.account()).open_holds == 1


async def test_a_request_that_no_replica_knows_is_released_when_it_had_time_to_arrive(house: House) -> None:
    customer = await house.customer()
    await orphan(house, customer)
    assert await recover(house, ORPHAN_AGE) == 0
    assert await recover(house, LOST_AGE) == 1
    assert (await only_usage(customer)).ended == "lost"
    assert (await customer.account()).balance_nanodollars == DOLLAR


async def test_the_gateway_of_an_answer_whose_replica_was_just_killed_is_given_time_to_charge_it(
    house: House,
) -> None:
    customer = await house.customer()
    request_id = await orphan(house, customer)
    directory = house.settings.meters / "smollm2"
    directory.mkdir(parents=True)
    marks = path_of(directory, "killed")
    marks.write_text(f'{{"answer_bytes":9,"meter":{{"request_id":"{request_id}"}}}}\n')
    killed_at = system_clock() + LOST_AGE
    os.utime(marks, times=(0, killed_at.timestamp()))
    assert await recover(house, LOST_AGE) == 0
    assert await recover(house, LOST_AGE + timedelta(seconds=25)) == 0
    assert await recover(house, 2 * LOST_AGE + timedelta(seconds=1)) == 1
    assert (await only_usage(customer)).ended == "lost"


async def test_nothing_is_decided_while_a_replica_does_not_answer(house: House) -> None:
    customer = await house.customer()
    await orphan(house, customer)
    publish(house.settings.directory, ["http://127.0.0.1:9"])
    assert await recover(house, GIVE_UP_AGE - timedelta(minutes=1)) == 0
    publish(house.settings.directory, [])
    assert await recover(house, GIVE_UP_AGE - timedelta(minutes=1)) == 0
    assert (await customer.account()).open_holds == 1
    assert await recover(house, GIVE_UP_AGE) == 1
    assert (await customer.account()).open_holds == 0


async def test_one_hold_that_cannot_be_resolved_does_not_stop_the_others(house: House) -> None:
    customer = await house.customer()
    bad, good = await orphan(house, customer), await orphan(house, customer)
    house.stubs[0].meters[str(bad)] = METER | {"prompt_tokens": 1, "cached_tokens": 9, "ended": "complete"}
    house.stubs[0].meters[str(good)] = METER | {"ended": "complete"}
    assert await recover(house, ORPHAN_AGE) == 1
    assert (await only_usage(customer)).request_id == good
