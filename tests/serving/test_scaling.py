"""How many replicas a model gets: more at once, fewer only when fewer were enough for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.catalog.models import Replicas
from serving.control.scaling import Scaler

ELASTIC = Replicas(least=0, most=4, target=10, idle_seconds=60)


def test_a_model_is_started_once_and_sleeps_when_nobody_came() -> None:
    scaler = Scaler(ELASTIC, 0.0)
    assert [scaler.decide(0, now) for now in (1.0, 59.0, 61.0)] == [1, 1, 0]


def test_more_is_there_at_once_and_the_most_is_the_most() -> None:
    scaler = Scaler(ELASTIC, 0.0)
    assert [scaler.decide(requests, 1.0) for requests in (1, 11, 31, 1000)] == [1, 2, 4, 4]


def test_a_pause_that_is_shorter_than_idle_ends_nothing() -> None:
    scaler = Scaler(ELASTIC, 0.0)
    assert scaler.decide(40, 1.0) == 4
    assert scaler.decide(15, 30.0) == 4
    assert scaler.decide(0, 60.0) == 4
    assert scaler.decide(0, 62.0) == 2  # what was needed at 30 s
    assert scaler.decide(0, 91.0) == 0


def test_a_fixed_number_stays() -> None:
    scaler = Scaler(Replicas(2, 2), 0.0)
    assert {scaler.decide(requests, now * 1000.0) for now, requests in enumerate((0, 500, 0))} == {2}


@given(st.lists(st.tuples(st.floats(0.1, 30), st.integers(0, 100)), min_size=1, max_size=40))
def test_it_is_the_greatest_need_of_the_last_while(steps: list[tuple[float, int]]) -> None:
    scaler, now, needs = Scaler(ELASTIC, 0.0), 0.0, [(0.0, 1)]
    for pause, requests in steps:
        now += pause
        needs.append((now, min(4, -(-requests // 10))))
        window = [need for at, need in needs if at >= now - ELASTIC.idle_seconds]
        assert scaler.decide(requests, now) == max(window)
