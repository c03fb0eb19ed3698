"""What the first node and the others tell each other, once a second; none of them is waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.metering import replication
from serving.metering.journal import HOUR_SECONDS

logger = logging.getLogger(__name__)

Exchange = Callable[[str, Mapping[str, bytes], Sequence[tuple[str, int]]], Awaitable[dict[str, Any] | None]]
"""``serving.control.cluster.Cluster.exchange``: with a node's follower; None if it does not answer."""
PUBLISHED = ("directory.json", "models.json")


class Followers:
    """``home`` is the first node's."""

    def __init__(self, home: Path, exchange: Exchange) -> None:
        self._home = home
        self._exchange = exchange
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, Collection[str]] = {}
        self._missing: dict[str, list[tuple[str, int]]] = {}
        self._forgot_at = 0.0

    def tell(self, nodes: Collection[str]) -> None:
        """Begins what is to be told to ``nodes``, the ids of the others; one that is slow is not told twice."""
        for gone in self._tasks.keys() - set(nodes):
            self._tasks.pop(gone).cancel()
            self._wanted.pop(gone, None)
            self._missing.pop(gone, None)
        for node in nodes:
            if node not in self._tasks or self._tasks[node].done():
                self._tasks[node] = asyncio.create_task(self._tell(node))
        if nodes and time.monotonic() - self._forgot_at > HOUR_SECONDS:
            self._forgot_at = time.monotonic()
            replication.forget(self._home / "meters")

    def want(self, model: str) -> bool:
        """Whether somebody asks another node's gateway for it."""
        return any(model in wanted for wanted in self._wanted.values())

    def cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _tell(self, node: str) -> None:
        try:
            files = {name: (self._home / "run" / name).read_bytes() for name in PUBLISHED}
            reply = await self._exchange(node, files, self._missing.get(node, []))
            self._wanted[node] = [] if reply is None else reply["wanted"]
            if reply is not None:
                meters = self._home / "meters"
                await asyncio.to_thread(replication.append, meters, reply["pieces"])
                self._missing[node] = replication.missing(meters, reply["journals"])
        except OSError as error:
            logger.error("node %s is not told what is published: %s", node, error.strerror)
