"""A follower that takes longer to start than the first node waits for its answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import Node

pytestmark = pytest.mark.engine

DRIVER = """
import asyncio, sys, time
from serving.control import cluster

address, starts = sys.argv[1:]

class SlowFollower:
    def __init__(self):
        with open(starts, "a") as file:
            file.write("started\\n")
        time.sleep(4)

    def exchange(self, files, pieces):
        return {"said": "hello"}

async def main():
    cluster.Follower = SlowFollower
    cluster.EXCHANGE_TIMEOUT_SECONDS = 1.0
    first = cluster.Cluster(address)
    replies = []
    while not replies or (replies[-1] is None and len(replies) < 30):
        replies.append(await first.exchange(first.node, {}, []))
    print(replies[0], replies[-1])
    first.close()

asyncio.run(main())
"""


def test_it_is_waited_for_and_not_started_again(node: Node, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, node.serving.address, starts],
        env=node.serving.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["None {'said': 'hello'}"], done.stderr[-3000:]
    assert starts.read_text().splitlines() == ["started"]
