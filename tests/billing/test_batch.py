"""What callers are promised of a batch, with transactions that the test ends when it likes."""

import asyncio
from collections.abc import Sequence

import pytest

from billing.charging.batch import Batcher, QueueFull

FULL = 3


class Transactions:
    """Each batch waits for its own end."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, ...], asyncio.Future[None]] = {}
        self.begun: list[list[int]] = []

    async def process(self, items: Sequence[int]) -> list[int]:
        ended = self.open[tuple(items)] = asyncio.get_running_loop().create_future()
        self.begun.append(list(items))
        try:
            await ended
        finally:
            del self.open[tuple(items)]
        return [10 * item for item in items]

    def end(self, *items: int, error: Exception | None = None) -> None:
        if error is None:
            self.open[items].set_result(None)
        else:
            self.open[items].set_exception(error)


@pytest.fixture
def transactions() -> Transactions:
    return Transactions()


@pytest.fixture
def batcher(transactions: Transactions) -> Batcher[int, int]:
    return Batcher(transactions.process, max_items=FULL, max_waiting=2 * FULL)


async def submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await turn()
    return tasks


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_goes_together_when_the_transaction_ends(
    batcher: Batcher[int, int], transactions: Transactions
) -> None:
    answers = await submit(batcher, 1)
    answers += await submit(batcher, 2)
    answers += await submit(batcher, 3)
    assert transactions.begun == [[1]]
    transactions.end(1)
    await turn()
    assert transactions.begun == [[1], [2, 3]]
    transactions.end(2, 3)
    assert await asyncio.gather(*answers) == [10, 20, 30]


async def test_a_full_batch_does_not_wait_for_the_one_before_it(
    batcher: Batcher[int, int], transactions: Transactions
) -> None:
    await submit(batcher, 1)
    later = await submit(batcher, 2, 3, 4)
    assert transactions.begun == [[1], [2, 3, 4]]
    transactions.end(2, 3, 4)
    assert await asyncio.gather(*later) == [20, 30, 40]


async def test_two_transactions_are_the_most(batcher: Batcher[int, int], transactions: Transactions) -> None:
    answers = []
    for items in ([1, 2, 3], [4, 5, 6], [7, 8, 9], [10]):
        answers += await submit(batcher, *items)
    assert transactions.begun == [[1, 2, 3], [4, 5, 6]]
    transactions.end(4, 5, 6)
    await turn()
    assert transactions.begun[2:] == [[7, 8, 9]]
    transactions.end(1, 2, 3)
    await turn()
    assert len(transactions.begun) == 3, "what is not full waits as long as one is under way"
    transactions.end(7, 8, 9)
    await turn()
    transactions.end(10)
    assert await asyncio.gather(*answers) == [10 * item for item in range(1, 11)]


async def test_an_error_is_told_to_its_batch_alone(batcher: Batcher[int, int], transactions: Transactions) -> None:
    first = await submit(batcher, 1)
    second = await submit(batcher, 2, 3, 4)
    third = await submit(batcher, 5)
    transactions.end(2, 3, 4, error=ConnectionError("gone"))
    transactions.end(1)
    await turn()
    transactions.end(5)
    assert await asyncio.gather(*first, *third) == [10, 50]
    for error in await asyncio.gather(*second, return_exceptions=True):
        assert isinstance(error, ConnectionError)


async def test_who_comes_when_the_queue_is_full_is_told_at_once(
    batcher: Batcher[int, int], transactions: Transactions
) -> None:
    waiting = await submit(batcher, *range(1, FULL + 1))
    waiting += await submit(batcher, *range(FULL + 1, 2 * FULL + 1))
    waiting += await submit(batcher, *range(2 * FULL + 1, 4 * FULL + 1))
    (refused,) = await submit(batcher, 99)
    with pytest.raises(QueueFull):
        await refused
    while transactions.open:
        for items in list(transactions.open):
            transactions.end(*items)
        await turn()
    assert await asyncio.gather(*waiting) == [10 * item for item in range(1, 4 * FULL + 1)]


async def test_who_hangs_up_while_waiting_takes_nobody_along(
    batcher: Batcher[int, int], transactions: Transactions
) -> None:
    leaver, stayer = await submit(batcher, 1, 2)
    leaver.cancel()
    await turn()
    transactions.end(*transactions.begun[0])
    assert await stayer == 20
