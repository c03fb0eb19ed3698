"""Whether a partner that failed is asked again already. Pure.

After ``MOST_FAILURES`` in a row nobody asks it for a while; then one request tries, and the others follow if it
does well. Each pause is twice the last one.
"""

from __future__ import annotations

MOST_FAILURES = 5
PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0


class Breaker:
    """``now`` is in seconds, monotonic. Every request that was admitted is to end with one of the other three."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = PAUSE_SECONDS
        self._open_until: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """From the last of so many failures to the next success."""
        return self._open_until is not None

    def admits(self, now: float) -> bool:
        if self._open_until is None:
            return True
        if self._trying or now < self._open_until:
            return False
        self._trying = True
        return True

    def answered(self) -> None:
        """It has begun with an answer, so that the others need not wait for its end; a failure opens it again."""
        self._open_until, self._trying = None, False

    def succeeded(self) -> None:
        """It answered, whatever it said to the request itself."""
        self._failures, self._pause, self._open_until, self._trying = 0, PAUSE_SECONDS, None, False

    def failed(self, now: float) -> None:
        self._failures += 1
        if self._open_until is not None:
            if not self._trying:
                return  # of before the pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if self._failures >= MOST_FAILURES:
            self._open_until = now + self._pause
        self._trying = False

    def abandoned(self) -> None:
        """Nobody knows whether it would have answered."""
        self._trying = False
