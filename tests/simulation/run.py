"""Playing histories, and making one that fails short enough to read."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from tests.simulation.ground import Ground, MemoryGround
from tests.simulation.world import Operation, World, history

WORLD_OPERATIONS = 400
CHECK_BOOKS_EVERY = 100


class Broken(AssertionError):
    """The shortest history found on which the code and the model differ, with its seed."""

    def __init__(self, seed: int, reason: str, shortest: Sequence[Operation]) -> None:
        lines = "\n".join(f"  {operation!r}," for operation in shortest)
        super().__init__(f"seed {seed}: {reason}\n{len(shortest)} operations lead there:\n{lines}")
        self.seed = seed
        self.shortest = list(shortest)


async def play(operations: Sequence[Operation], ground: Ground | None = None) -> int:
    """In a new world; returns how many operations that was. Raises what differs, or what the code raises."""
    world, count = await World.create(ground or MemoryGround()), 0
    for position, operation in enumerate(operations):
        count += await world.apply(operation)
        if position % CHECK_BOOKS_EVERY == 0:
            await world.check_books()
    await world.check_books()
    return count


def failure(operations: Sequence[Operation]) -> str | None:
    """What goes wrong with a history, if anything does."""
    try:
        asyncio.run(play(operations))
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what we look for
        return f"{type(error).__name__}: {error}"
    return None


def shorten(operations: Sequence[Operation]) -> list[Operation]:
    """Leaves out parts, large ones first, as long as what remains still fails (Zeller's ddmin)."""
    left, size = list(operations), len(operations) // 2
    while size:
        position = 0
        while position < len(left):
            fewer = left[:position] + left[position + size :]
            if fewer and failure(fewer):
                left = fewer
            else:
                position += size
        size //= 2
    return left


def check(seed: int, length: int = WORLD_OPERATIONS) -> int:
    """One world from its seed; how many operations. Raises Broken."""
    operations = history(random.Random(seed), length)
    try:
        return asyncio.run(play(operations))
    except Exception as error:
        shortest = shorten(operations)
        raise Broken(seed, failure(shortest) or str(error), shortest) from error


def soak(seed: int, until: Callable[[int], bool], report: Callable[[int, float], None]) -> tuple[int, int]:
    """World after world from ``seed`` on until ``until`` says so of the count of operations; how many operations
    and worlds that were. Raises Broken."""
    count, worlds, started, reported = 0, 0, time.monotonic(), 0.0
    while not until(count):
        count += check(seed + worlds)
        worlds += 1
        if (elapsed := time.monotonic() - started) - reported > 5:
            reported = elapsed
            report(count, elapsed)
    return count, worlds
