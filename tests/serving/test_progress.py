"""An engine hangs when it has work and nothing changes for long; not when it rests, or is slow."""

from __future__ import annotations

from serving.replica.progress import Progress


def test_an_engine_that_does_nothing_with_its_work_hangs() -> None:
    progress = Progress(patience_seconds=10)
    assert not progress.hangs((1, 5), 0.0, busy=True)
    assert not progress.hangs((1, 5), 9.0, busy=True)
    assert progress.hangs((1, 5), 11.0, busy=True)


def test_one_that_rests_or_is_slow_does_not() -> None:
    progress = Progress(patience_seconds=10)
    assert not any(progress.hangs((0, 0), now * 60.0, busy=False) for now in range(5))
    assert not any(progress.hangs((1, now), 300 + now * 9.0, busy=True) for now in range(5))
    assert not progress.hangs((1, 4), 345.0, busy=True)
