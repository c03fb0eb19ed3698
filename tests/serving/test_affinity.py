"""A conversation goes back to the replica that has read it, as long as that one is not busier than the others."""

from __future__ import annotations

from serving.client.affinity import choose
from serving.client.published import Replica

SESSIONS = [f"session {number}".encode() for number in range(300)]


def _replicas(names: str, busy: dict[str, int] | None = None) -> list[Replica]:
    return [Replica(name, name, (busy or {}).get(name, 0), 0, draining=False) for name in names]


def _homes(names: str) -> dict[bytes, str]:
    chosen = {session: choose(_replicas(names), {}, session) for session in SESSIONS}
    return {session: replica.id for session, replica in chosen.items() if replica is not None}


def test_without_a_session_the_least_loaded_is_chosen() -> None:
    assert choose([], {}) is None
    assert choose(_replicas("abc", {"a": 2, "b": 1, "c": 2}), {}) == _replicas("abc", {"b": 1})[1]
    found = choose(_replicas("ab", {"b": 9}), {"a": 1})  # what we sent says more than an old look
    assert found is not None
    assert found.id == "b"


def test_a_session_comes_back_and_all_replicas_have_some() -> None:
    homes = _homes("abc")
    assert homes == _homes("cba")
    assert all(60 < list(homes.values()).count(name) < 140 for name in "abc")


def test_only_the_sessions_of_a_replica_that_left_move() -> None:
    before, after = _homes("abc"), _homes("ab")
    assert all(after[session] == home for session, home in before.items() if home != "c")


def test_a_session_leaves_a_replica_that_is_much_busier() -> None:
    session = next(session for session, home in _homes("ab").items() if home == "a")
    for load, expected in ((4, "a"), (5, "b")):
        found = choose(_replicas("ab"), {"a": load}, session)
        assert found is not None
        assert found.id == expected
    found = choose(_replicas("ab"), {"a": 100, "b": 80}, session)
    assert found is not None
    assert found.id == "a"
