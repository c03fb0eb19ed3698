"""How many replicas a model is to have, from what it has to do. Pure."""

from __future__ import annotations

import math
from collections import deque

from serving.catalog.models import Replicas


class Scaler:
    """More at once when more is asked; fewer when fewer were enough for all of ``idle_seconds``."""

    def __init__(self, replicas: Replicas, now: float, count: int | None = None) -> None:
        """``count`` are there at ``now`` (seconds, monotonic); a model is started once to know what it can do."""
        self._replicas = replicas
        self._needs: deque[tuple[float, int]] = deque()
        self._need(now, max(1, replicas.least) if count is None else count)

    def decide(self, requests: int, now: float) -> int:
        """``requests`` run or wait."""
        self._need(now, math.ceil(requests / self._replicas.target))
        while len(self._needs) > 1 and self._needs[0][0] < now - self._replicas.idle_seconds:
            self._needs.popleft()
        return self._needs[0][1]

    def _need(self, now: float, count: int) -> None:
        """The greatest need comes first; what is behind it was greater than all that came later."""
        bounded = max(self._replicas.least, min(count, self._replicas.most))
        while self._needs and self._needs[-1][1] <= bounded:
            self._needs.pop()
        self._needs.append((now, bounded))
