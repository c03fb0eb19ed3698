"""Asking every replica for one request's meter."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.catalog.traits import Traits
from serving.client.published import Directory, ModelView, Replica
from serving.client.replicas import EngineClient, ReplicaUnreachable
from serving.metering.meter import Meter
from tests.serving.test_meter import COMPLETE, CUT_OFF, REFUSED, RUNNING

Answer = Meter | None | ReplicaUnreachable
GONE = ReplicaUnreachable("gone")


class Listed(Directory):
    def __init__(self, replicas: tuple[Replica, ...]) -> None:
        super().__init__(Path("nowhere"))
        self._replicas = replicas

    def model(self, model: str) -> ModelView:
        return ModelView("ready", "", 1, Traits(), self._replicas)


class Asked(EngineClient):
    """Replicas that answer what the test says; the first of them drains."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = dict(zip("abc", answers, strict=False))
        self.directory = Listed(tuple(Replica(name, name, 0, 0, draining=name == "a") for name in self._answers))

    async def meter(self, endpoint: str, request_id: str, wait_seconds: float = 0.0) -> Meter | None:
        answer = self._answers[endpoint]
        if isinstance(answer, ReplicaUnreachable):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([None, None], None),
        ([None, CUT_OFF], CUT_OFF),
        ([CUT_OFF, RUNNING], RUNNING),
        ([RUNNING, CUT_OFF], RUNNING),
        ([GONE, RUNNING], RUNNING),
        ([GONE, COMPLETE], COMPLETE),
    ],
)
async def test_the_attempt_that_counts_is_found(answers: list[Answer], found: Meter | None) -> None:
    assert await Asked(*answers).find_meter("m", "a") == found


@pytest.mark.parametrize("answers", [[], [GONE, None], [CUT_OFF, GONE], [REFUSED, GONE]])
async def test_what_an_unreachable_replica_might_know_is_not_guessed(answers: list[Answer]) -> None:
    with pytest.raises(ReplicaUnreachable):
        await Asked(*answers).find_meter("m", "a")
