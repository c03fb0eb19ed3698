"""Which processes belong to which part, down to the last grandchild, and on disk for the next start.

Ray and vLLM start processes that leave their group and may outlive their parent. The supervisor adopts such
orphans (see `processes.adopt_orphans`), and remembers which part they came from.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from appliance.supervisor.processes import Identity, Status, all_statuses, is_alive

STRAY = "stray"  # the part of orphans that left their session before they were seen
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Census:
    """Keeps `file` equal to what it last saw."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._part_of: dict[Identity, str] = {}

    def look(self, mains: Mapping[str, int]) -> None:
        """Find the descendants of each part, whose main process `mains` names; reap orphans that ended."""
        statuses = all_statuses()
        children: dict[int, list[Status]] = defaultdict(list)
        for status in statuses:
            children[status.parent].append(status)
        part_by_pid = {pid: part for part, pid in mains.items()}
        found: dict[Identity, str] = {}
        for child in children[os.getpid()]:
            if child.session == os.getsid(0):
                continue  # a helper of the supervisor itself, which waits for it
            known = part_by_pid.get(child.pid) or self._part_of.get(child.identity)
            part = known or part_by_pid.get(child.session, STRAY)
            if child.state == "Z" and child.pid not in part_by_pid:
                _reap(child.pid)
                continue
            found[child.identity] = part
            _add_descendants(child.pid, part, children, found)
        if found != self._part_of:
            self._part_of = found
            self._save()

    def of(self, part: str) -> list[Identity]:
        """The living processes of a part, as of the last look, and those that may be of any."""
        owned = [process for process, owner in self._part_of.items() if owner in (part, STRAY)]
        return [process for process in owned if is_alive(process)]

    def _save(self) -> None:
        draft = self._file.with_suffix(".new")
        processes = [[process.pid, process.born, part] for process, part in sorted(self._part_of.items())]
        # On a full disk the list stays as it was: parts are kept running all the same.
        with suppress(OSError):
            draft.write_text(json.dumps({"boot": BOOT_ID.read_text().strip(), "processes": processes}))
            draft.replace(self._file)


def leftovers(file: Path) -> list[Identity]:
    """The processes of an earlier supervisor that still run, because it was killed."""
    return list(alive(file))


def alive(file: Path) -> dict[Identity, str]:
    """The part of each process in the file that still runs."""
    try:
        record = json.loads(file.read_text())
        if record["boot"] != BOOT_ID.read_text().strip():
            return {}
        parts = {Identity(pid, born): part for pid, born, part in record["processes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {process: part for process, part in parts.items() if is_alive(process)}


def _add_descendants(
    pid: int, part: str, children: Mapping[int, list[Status]], found: dict[Identity, str]
) -> None:
    waiting = list(children.get(pid, ()))
    while waiting:
        status = waiting.pop()
        if status.state != "Z":
            found[status.identity] = part
        waiting.extend(children.get(status.pid, ()))


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
