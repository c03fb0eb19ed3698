"""The sandbox's time: the machine's, and as far ahead of it as it was moved. Never back."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since 1970."""


class MovableClock:
    def __init__(self, real: Clock, ahead_seconds: float = 0.0) -> None:
        self._real = real
        self.ahead_seconds = ahead_seconds

    def now(self) -> int:
        return int(self._real() + self.ahead_seconds)

    def move_to(self, instant: int) -> None:
        self.ahead_seconds += max(0, instant - self.now())
