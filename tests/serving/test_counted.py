"""An engine's outputs on their way to whoever writes the answer, without an engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from serving.engine.metering import counted
from serving.metering.meter import Limits, Request


@dataclass
class Completion:
    token_ids: list[int]


@dataclass
class Output:
    outputs: list[Completion]


async def test_tokens_of_all_answers_count_when_the_next_are_asked_for() -> None:
    closed = []

    async def outputs() -> AsyncGenerator[Output, None]:
        try:
            yield Output([Completion([1, 2]), Completion([3])])
            yield Output([Completion([4])])
            yield Output([Completion([5])])
        finally:
            closed.append(True)

    request = Request("a", Limits())
    request.ask(10, 1, 2)
    told = counted(request, outputs())
    await anext(told)
    request.sent_bytes = 20
    assert request.delivered() is None
    await anext(told)
    delivered = request.delivered()
    assert delivered is not None
    assert (delivered[0], delivered[1].completion_tokens) == (20, 3)
    await told.aclose()
    assert closed, "the engine goes on with an answer that nobody reads"
