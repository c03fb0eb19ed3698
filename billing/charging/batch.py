"""Batching without a timer: a batch is what queued up while the one before it was in flight."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_IN_FLIGHT = 2
"""One is reckoned here while the other is in the database. A third gained nothing (``make bench``)."""


class QueueFull(Exception):
    """More items wait than the stated limit."""


class Batcher(Generic[Item, Result]):
    """``process`` gets 1 to ``max_items`` items and returns a result, or an exception to raise, for each.

    An exception that ``process`` itself raises is raised for every item of the batch. A batch waits for the one
    in flight, unless it is full: then it goes beside it. Two are in flight at most. ``observe`` is told the size
    of each batch.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_items: int = 500,
        max_waiting: int = 20_000,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        self._process = process
        self._max_items = max_items
        self._max_waiting = max_waiting
        self._observe = observe
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def submit(self, item: Item) -> Result:
        if len(self._waiting) >= self._max_waiting:
            raise QueueFull(f"{self._max_waiting} items wait already")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call before Python 3.12: once, not for each item
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, future))
        if len(self._running) < MAX_IN_FLIGHT and self._is_due(len(self._running)):
            self._running.add(asyncio.create_task(self._run()))
        return await future

    def _is_due(self, in_flight: int) -> bool:
        """Whether what waits is to go beside so many others."""
        return len(self._waiting) >= (self._max_items if in_flight else 1)

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while self._is_due(len(self._running) - 1):
                count = min(len(self._waiting), self._max_items)
                await self._run_batch([self._waiting.popleft() for _ in range(count)])
        finally:
            self._running.discard(task)

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        if self._observe is not None:
            self._observe(len(batch))
        results: Sequence[Result | BaseException]
        try:
            results = await self._process([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items were processed to {len(results)} results")
        except Exception as error:  # noqa: BLE001 -- whoever waits gets it
            results = [error] * len(batch)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
