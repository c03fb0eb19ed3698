"""Ended meters in files, so that they outlive their replica: one line of numbers a request, no content.

``<home>/meters/<model>/<replica>-<hour>.jsonl``; a file is deleted when its last line is six hours old.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from serving.meter import KEEP_SECONDS, Meter

HOUR_SECONDS = 3600


def meters_directory(home: Path, model_id: str) -> Path:
    """Where all replicas of a model on this node write."""
    return home / "meters" / model_id


class FileJournal:
    """One replica's journal; it finds the meters of the model's other replicas on this node too."""

    def __init__(self, directory: Path, replica_id: str, clock: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._replica_id = replica_id
        self._clock = clock
        self._hour = -1
        self._file: IO[bytes] | None = None

    def append(self, meter: Meter) -> None:
        """Written to the system at once; a crash of this process loses nothing."""
        now = self._clock()
        if (hour := int(now // HOUR_SECONDS)) != self._hour or self._file is None:
            self.close()
            self._hour = hour
            self._file = (self._directory / f"{self._replica_id}-{hour}.jsonl").open("ab", buffering=0)
            delete_old(self._directory, now)
        self._file.write(msgspec.json.encode(meter) + b"\n")

    def find(self, request_id: str) -> Meter | None:
        return read_journal(self._directory, request_id)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_journal(directory: Path, request_id: str) -> Meter | None:
    """The request's ended meter from any replica's journal in ``directory``; None if none has it.

    A request that one replica refused and another served has two lines: the one with the tokens counts.
    """
    needle = json.dumps(request_id).encode()
    found: Meter | None = None
    for path in sorted(directory.glob("*.jsonl"), key=_modified, reverse=True):
        for line in _lines(path):
            if needle not in line:
                continue
            try:
                meter = msgspec.json.decode(line, type=Meter)
            except msgspec.DecodeError:
                continue  # the last line of a replica that was killed while it wrote
            if meter.request_id == request_id and (found is None or found.ended == "refused"):
                found = meter
        if found is not None and found.ended != "refused":
            break
    return found


def delete_old(directory: Path, now: float) -> None:
    """Deletes the files whose last line is too old to be asked for."""
    for path in directory.glob("*.jsonl"):
        if _modified(path) < now - KEEP_SECONDS:
            path.unlink(missing_ok=True)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
