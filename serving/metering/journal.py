"""Ended meters in files, so that they outlive their replica: one line of numbers a request, no content.

``<home>/meters/<model>/<replica>-<hour>.jsonl``; a file is deleted when its last line is three days old, so
that the nightly reconciliation can read it.
"""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import UUID

import msgspec

from serving.metering.meter import Meter, decisive

HOUR_SECONDS = 3600
KEEP_SECONDS = 3 * 24 * HOUR_SECONDS
CLOCKS_DIFFER_SECONDS = 300  # the gateway's, which dates the id, and the replica's, which dates the file
UUID_WITH_TIME = 7
MARKS = ".marks"
"""What ``serving.metering.marks`` writes beside the journals."""


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
        self._torn = False
        self._file: IO[bytes] | None = None

    def append(self, meter: Meter) -> None:
        """Written to the system at once; a crash of this process loses nothing. Raises OSError."""
        file = self._file_now()
        line = b"\n" * self._torn + msgspec.json.encode(meter) + b"\n"
        self._torn = True  # until the whole line is there: a disk that fills up takes a part of it
        if (written := file.write(line)) != len(line):
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes were written")
        self._torn = False

    def _file_now(self) -> IO[bytes]:
        now = self._clock()
        if (hour := int(now // HOUR_SECONDS)) != self._hour or self._file is None:
            self.close()
            delete_old(self._directory, now)
            self._file = (self._directory / f"{self._replica_id}-{hour}.jsonl").open("ab", buffering=0)
            self._torn = self._file.tell() > 0  # whoever wrote before may have been killed over it
            self._hour = hour
        return self._file

    def find(self, request_id: str) -> Meter | None:
        return read_journal(self._directory, request_id)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_journal(directory: Path, request_id: str, replica_id: str | None = None) -> Meter | None:
    """The request's ended meter from the journals in ``directory``, of any replica or of one; None if none has it.

    A request that one replica refused or failed, and another served, has two lines: the decisive one is returned.
    """
    needle = json.dumps(request_id).encode()
    found: list[Meter] = []
    for path in files_since(directory, _begun_at(request_id)):
        if replica_id not in (None, path.stem.rpartition("-")[0]):
            continue
        found += _meters_of(path, request_id, needle)
    return decisive(found)


def _begun_at(request_id: str) -> float:
    """Unix time, from a UUIDv7's first 48 bits (RFC 9562, 5.7); 0 for ids that do not say."""
    try:
        uuid = UUID(request_id)
    except ValueError:
        return 0.0
    return (uuid.int >> 80) / 1000 if uuid.version == UUID_WITH_TIME else 0.0


def files_since(directory: Path, begun_at: float) -> list[Path]:
    """The journals that may have requests that began at ``begun_at`` (Unix time) or later, in no order."""
    hour = (begun_at - CLOCKS_DIFFER_SECONDS) // HOUR_SECONDS
    return [path for path in directory.glob("*.jsonl") if hour_of(path) >= hour]


def read_file(path: Path) -> Iterator[Meter]:
    """Every whole line of a journal."""
    for line in content_of(path).splitlines():
        if (meter := _decode(line)) is not None:
            yield meter


def hour_of(path: Path) -> float:
    """The hour since 1970 in which its first line was written, from its name."""
    hour = path.stem.rpartition("-")[2]
    return int(hour) if hour.isdecimal() else math.inf


def _meters_of(path: Path, request_id: str, needle: bytes) -> Iterator[Meter]:
    content = content_of(path)
    if needle not in content:
        return
    for line in content.splitlines():
        if needle not in line:
            continue
        meter = _decode(line)
        if meter is not None and meter.request_id == request_id:
            yield meter


def _decode(line: bytes) -> Meter | None:
    """None for a line that a kill or a full disk cut off."""
    try:
        return msgspec.json.decode(line, type=Meter)
    except msgspec.DecodeError:
        return None


def delete_old(directory: Path, now: float) -> None:
    """Deletes the files whose last line is too old to be asked for, as far as the system lets it."""
    for path in (*directory.glob("*.jsonl"), *directory.glob(f"*{MARKS}")):
        with suppress(OSError):
            if _modified(path) < now - KEEP_SECONDS:
                path.unlink(missing_ok=True)


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _modified(path: Path) -> float:
    return path.stat().st_mtime
