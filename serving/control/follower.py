"""The deputy of the process ``serving`` on every other node: an actor of Ray.

Gateways there find what is published in the same files as on the first node, and their wishes are heard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.client.wanted import Wanted
from serving.files import write_whole
from serving.metering import replication


def home_of_this_node() -> Path:
    """What ``appliance up`` or ``appliance join`` told Ray here; every node has its own."""
    return Path(os.environ["APPLIANCE_HOME"])


class Follower:
    """``home`` is this node's."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or home_of_this_node()
        self._wanted = Wanted(self._home / "run" / "wanted")

    def exchange(self, files: Mapping[str, bytes], pieces: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Takes the files of ``run/``; gives the ``pieces`` of this node's journals that the first node lacks.

        Returns ``wanted``, ids of models; ``journals``, their lengths by name; and ``pieces``.
        """
        for name, content in files.items():
            path = self._home / "run" / Path(name).name
            if not path.exists() or path.read_bytes() != content:
                write_whole(path, content)
        meters = self._home / "meters"
        return {
            "wanted": self._wanted.all(),
            "journals": replication.sizes(meters),
            "pieces": replication.read(meters, pieces),
        }
