"""Who is served next when the engine is full."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.replica.line import Line, Ticket


def called(*tickets: Ticket) -> list[bool]:
    return [ticket.turn.done() for ticket in tickets]


async def test_one_tenants_flood_does_not_keep_another_waiting() -> None:
    line = Line(8)
    flood = [line.join("flood", 0, 1) for _ in range(200)]
    assert called(*flood) == [True] * 7 + [False] * 193
    quiet = line.join("quiet", 0, 1)
    assert not quiet.turn.done()
    with line.seated(flood[0]):
        pass
    assert quiet.turn.done()
    assert sum(called(*flood)) == 7


async def test_a_priority_finds_a_seat_that_others_may_not_take() -> None:
    line = Line(8)
    for _ in range(20):
        line.join("flood", 0, 1)
    assert line.join("urgent", -1, 1).turn.done()


async def test_the_higher_priority_goes_first() -> None:
    line = Line(1)
    seated = line.join("a", 0, 1)
    later = [line.join("b", priority, 1) for priority in (0, -5, 3, -1)]
    order = []
    for _ in later:
        with line.seated(seated):
            pass
        (seated,) = [ticket for ticket in later if ticket.turn.done() and ticket.priority not in order]
        order.append(seated.priority)
    assert order == [-5, -1, 0, 3]


async def test_who_leaves_makes_room_whether_called_or_not() -> None:
    line = Line(1)
    one, other, third = (line.join(name, -1, 1) for name in "abc")
    line.leave(other)
    line.leave(one)
    assert third.turn.done()
    assert line.waiting == 0


async def test_a_request_of_more_sequences_than_there_are_seats_is_served_alone() -> None:
    line = Line(8)
    small = line.join("a", 0, 1)
    large = line.join("b", 0, 100)
    assert called(small, large) == [True, False]
    with line.seated(small):
        pass
    assert large.turn.done()


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.integers(1, 9), st.integers(0, 3)), max_size=60
)


@given(st.integers(1, 16), steps)
def test_never_more_than_there_is_room_for_and_nobody_is_forgotten(
    seats: int, requests: list[tuple[str, int, int, int]]
) -> None:
    async def story() -> None:
        line = Line(seats)
        tickets: list[Ticket] = []
        for tenant, priority, size, what in requests:
            tickets.append(line.join(tenant, priority, size))
            seated = [ticket for ticket in tickets if ticket.turn.done()]
            assert sum(ticket.size for ticket in seated) <= seats
            if what and tickets:
                leaving = tickets.pop(what % len(tickets))
                line.leave(leaving)
        while tickets:
            ready = [ticket for ticket in tickets if ticket.turn.done()]
            assert ready, "somebody waits although nobody is served"
            tickets.remove(ready[0])
            with line.seated(ready[0]):
                pass
        assert line.waiting == 0

    asyncio.run(story())


@pytest.mark.parametrize("seats", [1, 2, 8, 256])
async def test_somebody_can_always_be_served(seats: int) -> None:
    line = Line(seats)
    assert line.join("a", 0, 1).turn.done() or seats == 1
    assert line.join("b", -1, 1).turn.done() or seats == 1
