"""A model without a replica is woken by who asks for it, and its first callers wait or are told when to come."""

import asyncio
import dataclasses

import pytest

from serving.catalog.declared import declare
from serving.catalog.models import Cold
from tests.gateway.conftest import House, publish


@pytest.fixture
async def asleep(house: House) -> list[str]:
    """Where the stubs would be."""
    replicas = house.replicas()
    publish(house.settings.directory, [], state="cold")
    await asyncio.sleep(0.11)
    return replicas


def _let_wait(house: House, queue: int, seconds: int) -> None:
    models = [dataclasses.replace(model, cold=Cold(queue, seconds)) for model in house.settings.models]
    declare(house.settings.declared, models)


async def test_who_may_not_wait_wakes_it_all_the_same(house: House, asleep: list[str]) -> None:
    customer = await house.customer()
    async with customer.post() as response:
        assert response.status == 503
        assert int(response.headers["retry-after"]) >= 30
    assert (house.settings.wanted / "smollm2").exists()
    assert (await customer.settled()).open_holds == 0


async def test_a_stranger_wakes_nothing(house: House, asleep: list[str]) -> None:
    customer = await house.customer()
    customer.key = customer.key[:-1] + ("a" if customer.key[-1] != "a" else "b")
    async with customer.post() as response:
        assert response.status == 401
    assert not (house.settings.wanted / "smollm2").exists()


async def test_the_first_callers_wait_as_many_as_may(house: House, asleep: list[str]) -> None:
    _let_wait(house, queue=2, seconds=20)
    customer = await house.customer()

    async def ask() -> int:
        async with customer.post() as response:
            await response.read()
            return int(response.status)

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(1)
    assert sum(task.done() for task in asking) == 1
    publish(house.settings.directory, asleep)
    assert sorted(await asyncio.gather(*asking)) == [200, 200, 503]


async def test_waiting_has_an_end(house: House, asleep: list[str]) -> None:
    _let_wait(house, queue=2, seconds=1)
    customer = await house.customer()
    async with customer.post() as response:
        assert response.status == 503
    assert (await customer.account()).open_holds == 0


async def test_a_model_that_falls_asleep_at_this_moment_is_waited_for(house: House) -> None:
    _let_wait(house, queue=1, seconds=20)
    customer, replicas = await house.customer(), house.replicas()
    publish(house.settings.directory, ["http://127.0.0.1:9"])
    await asyncio.sleep(0.11)
    asking = asyncio.create_task(customer.post().__aenter__())
    await asyncio.sleep(0.5)
    publish(house.settings.directory, [], state="cold")
    await asyncio.sleep(6)
    publish(house.settings.directory, replicas)
    response = await asking
    assert response.status == 200
    await response.read()
    await customer.settled()
    assert await house.discrepancies() == []
