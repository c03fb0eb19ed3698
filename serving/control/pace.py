"""How fast a model writes: tokens a second, over the last seconds. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

OVER_SECONDS = 10.0


class Pace:
    """Of replicas that each say how many tokens they have written ever."""

    def __init__(self, over_seconds: float = OVER_SECONDS) -> None:
        self._over = over_seconds
        self._written: Mapping[str, int] = {}
        self._total = 0
        self._looks: deque[tuple[float, int]] = deque()

    def see(self, written: Mapping[str, int], now: float) -> None:
        """``written`` is by replica, ``now`` in seconds, monotonic. What a new one wrote before is not counted."""
        grown = (count - self._written.get(name, count) for name, count in written.items())
        self._total += sum(max(0, growth) for growth in grown)
        self._written = dict(written)
        self._looks.append((now, self._total))
        while len(self._looks) > 2 and self._looks[1][0] <= now - self._over:
            self._looks.popleft()

    @property
    def per_second(self) -> float:
        if not self._looks or self._looks[-1][0] <= self._looks[0][0]:
            return 0.0
        (began, before), (ended, after) = self._looks[0], self._looks[-1]
        return (after - before) / (ended - began)
