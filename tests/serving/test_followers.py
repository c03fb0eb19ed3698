"""What nodes tell each other: what is published, who is wanted, and every meter."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from appliance.worker.reconciling import read_meters
from billing.ids import request_id
from serving.client.wanted import Wanted
from serving.control.follower import Follower
from serving.control.followers import Followers
from serving.metering import replication
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.meter import Meter


class Nodes:
    """A first node and others in one process; ``away`` are those that do not answer."""

    def __init__(self, folder: Path, *others: str) -> None:
        self.homes = {name: folder / name for name in ("first", *others)}
        self.away: set[str] = set()
        for home in self.homes.values():
            (home / "run").mkdir(parents=True)
        self.publish({"m": "ready"})
        self.followers = Followers(self.homes["first"], self._exchange)
        self._others = others

    def publish(self, models: Mapping[str, str]) -> None:
        for name in ("directory.json", "models.json"):
            (self.homes["first"] / "run" / name).write_text(json.dumps(models))

    async def _exchange(
        self, node: str, files: Mapping[str, bytes], pieces: Sequence[tuple[str, int]]
    ) -> dict[str, Any] | None:
        if node in self.away:
            await asyncio.Event().wait()
        return Follower(self.homes[node]).exchange(files, pieces)

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            self.followers.tell(self._others)
            await asyncio.sleep(0.02)
            await asyncio.wait([task for node, task in self.followers._tasks.items() if node not in self.away])

    def serve(self, node: str, journal: str = "r1") -> str:
        """A request's id, metered on the node."""
        meter = Meter(str(request_id(time.time())), 3, 0, 2, "complete")
        FileJournal(meters_directory(self.homes[node], "m"), f"{node}{journal}").append(meter)
        return meter.request_id

    async def known(self, node: str = "first") -> set[str]:
        day = time.strftime("%Y-%m-%d", time.gmtime())
        readings = read_meters(self.homes[node] / "meters", date.fromisoformat(day))
        return {str(reading.request_id) for batch in [b async for b in readings] for reading in batch}


async def test_the_first_node_reconciles_what_every_node_metered(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, "b", "c")
    served = {nodes.serve("b"), nodes.serve("b", "r2"), nodes.serve("c"), nodes.serve("first")}
    await nodes.seconds(3)
    assert await nodes.known() == served
    served.add(nodes.serve("b"))
    await nodes.seconds(3)
    assert await nodes.known() == served, "a journal that grew is copied on"


async def test_gateways_everywhere_read_what_is_published_and_what_they_want_is_heard(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, "b")
    await nodes.seconds(1)
    published = tmp_path / "b" / "run" / "models.json"
    assert json.loads(published.read_text()) == {"m": "ready"}
    unchanged = published.stat().st_mtime_ns
    await nodes.seconds(1)
    assert published.stat().st_mtime_ns == unchanged, "a file that says the same is not new"
    assert not nodes.followers.want("m")
    Wanted(tmp_path / "b" / "run" / "wanted").want("m")
    await nodes.seconds(2)
    assert nodes.followers.want("m")


async def test_a_node_that_does_not_answer_keeps_no_other_waiting(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, "b", "c")
    nodes.away.add("b")
    served = nodes.serve("c")
    await nodes.seconds(3)
    assert await nodes.known() == {served}
    assert not (tmp_path / "b" / "run" / "models.json").exists()
    nodes.followers.cancel()


@pytest.mark.parametrize("name", ["../evil-1.jsonl", "/etc/evil-1.jsonl", "m/../../evil-1.jsonl", "m/evil.sh"])
def test_another_node_writes_nothing_but_journals(tmp_path: Path, name: str) -> None:
    meters = tmp_path / "a" / "meters"
    assert replication.missing(meters, {name: 5}) == []
    replication.append(meters, [(name, 0, b"12345")])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_piece_that_came_twice_is_there_once(tmp_path: Path) -> None:
    hour = int(time.time() // 3600)
    piece = (f"m/r-{hour}.jsonl", 0, b"{}\n")
    replication.append(tmp_path, [piece, piece])
    assert (tmp_path / piece[0]).read_bytes() == b"{}\n"
    assert replication.missing(tmp_path, {piece[0]: 3, f"m/r-{hour - 24 * 9}.jsonl": 3}) == []
