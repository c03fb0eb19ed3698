"""What running answers took so far, in a file, so that it is known when their replica is killed.

``<home>/meters/<model>/<replica>.marks``: twice an ``INTERVAL_SECONDS`` a line of numbers for each answer that
went on, no content. A mark says what the first bytes of an answer were made of; whoever passed them on to the
client knows how many they were. The file is there as long as its replica, and its length is bounded: it is
replaced by what is kept of the answers that still run.

What was written outlives a process that is killed, since it is in the system's memory then. Nothing is synced to
the disk: of a machine that loses its power no marks may be left, and nothing is charged.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from serving.metering.journal import MARKS, FileJournal, content_of, read_journal
from serving.metering.meter import Meter, MeterBook, Request

INTERVAL_SECONDS = 0.5
"""What came to a client in so long before a kill is all that may be delivered and not charged."""
MOST_MARKS = 128
"""Of an answer."""
SPREAD = 1 / 4
"""Of what a client that reads slower than the engine writes has not read yet, so much more may not be charged."""
REPLACED_AFTER = 240
"""Times after which the file is written anew."""

logger = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """The first ``answer_bytes`` of the answer's body took what ``meter`` says."""

    answer_bytes: int
    meter: Meter


def certain(marks: Iterable[Mark], delivered_bytes: int) -> Meter | None:
    """What so many bytes of an answer took at least; None if nothing is certain."""
    reached = (mark for mark in marks if mark.answer_bytes <= delivered_bytes)
    newest = max(reached, key=lambda mark: mark.answer_bytes, default=None)
    return None if newest is None else newest.meter


def thinned(marks: list[Mark]) -> list[Mark]:
    """At most ``MOST_MARKS``: the further behind the newest, the further apart."""
    if len(marks) <= MOST_MARKS:
        return marks
    newest = marks[-1]
    kept = [newest]
    for mark, older in pairwise(reversed(marks[:-1])):
        if kept[-1].answer_bytes - older.answer_bytes > SPREAD * (newest.answer_bytes - older.answer_bytes):
            kept.append(mark)
    return [marks[0], *reversed(kept[: MOST_MARKS - 1])]


class MarkFile:
    """One replica's marks. Its methods raise OSError."""

    def __init__(self, directory: Path, replica_id: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = path_of(directory, replica_id)
        self._file: IO[bytes] = self._path.open("wb", buffering=0)
        self._kept: dict[str, list[Mark]] = {}
        self._written = 0
        self._torn = False

    def write(self, running: Iterable[Request]) -> None:
        """A mark for each answer that went on since the last time; in one write."""
        kept: dict[str, list[Mark]] = {}
        new: list[Mark] = []
        for request in running:
            marks = self._kept.get(request.id, [])
            delivered = request.delivered()
            if delivered is not None and (not marks or delivered[0] > marks[-1].answer_bytes):
                new.append(Mark(*delivered))
                marks.append(new[-1])
            if marks:
                kept[request.id] = thinned(marks)
        self._kept = kept
        self._written += 1
        if self._written >= REPLACED_AFTER:
            self._replace()
        elif new:
            self._append(new)

    def _append(self, marks: Iterable[Mark]) -> None:
        lines = b"\n" * self._torn + _lines(marks)
        self._torn = True  # until all of it is there: a disk that fills up takes a part of it
        _write(self._file, lines)
        self._torn = False

    def _replace(self) -> None:
        self._written = 0
        draft = self._path.with_suffix(".draft")
        file = draft.open("wb", buffering=0)
        try:
            _write(file, _lines(mark for marks in self._kept.values() for mark in marks))
            draft.rename(self._path)
        except OSError:
            file.close()
            raise
        self._file.close()
        self._file, self._torn = file, False

    def close(self) -> None:
        """No answer runs any more."""
        self._file.close()
        self._path.unlink(missing_ok=True)


async def keep_marks(book: MeterBook, file: MarkFile) -> None:
    """Until it is cancelled. Marks that cannot be written spoil no answer."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS / 2)  # so that a late one is not too late
        try:
            file.write(book.running())
        except OSError as error:
            logger.error("marks are not written: %s", errno.errorcode.get(error.errno or 0, "unknown"))


def path_of(directory: Path, replica_id: str) -> Path:
    return directory / f"{replica_id}{MARKS}"


def ran_here(meters: Path, replica_id: str) -> bool:
    """Whether the replica is, or was when it was killed, one of this node."""
    return any(path_of(directory, replica_id).exists() for directory in meters.glob("*"))


def read_marks(path: Path, request_id: str) -> list[Mark]:
    """The request's. A line that a kill or a full disk cut off is passed over."""
    needle = msgspec.json.encode(request_id)
    found = (_decode(line) for line in content_of(path).splitlines() if needle in line)
    return [mark for mark in found if mark is not None and mark.meter.request_id == request_id]


def marked_since(meters: Path, request_id: str, since: float) -> bool:
    """Whether a replica of this node that wrote marks after ``since`` (Unix time) has some of the request."""
    needle = msgspec.json.encode(request_id)
    for path in meters.glob(f"*/*{MARKS}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime > since and needle in path.read_bytes():
                return True
    return False


def last_of(meters: Path, replica_id: str, request_id: str, delivered_bytes: int) -> Meter:
    """What is to be charged for an answer whose replica is gone, by what it left on this node.

    Its journal, if it came to that; else its marks, and then that is noted in its journal: for the worker, if the
    charge does not come to pass, and for reconciliation. Nothing, if nothing is certain. Raises OSError.
    """
    directories = list(meters.glob("*"))
    for directory in directories:
        if (meter := read_journal(directory, request_id, replica_id)) is not None:
            return meter
    for directory in directories:
        marks = read_marks(path_of(directory, replica_id), request_id)
        if (so_far := certain(marks, delivered_bytes)) is not None:
            meter = replace(so_far, ended="died")
            journal = FileJournal(directory, replica_id)
            try:
                journal.append(meter)
            finally:
                journal.close()
            return meter
    return Meter(request_id, ended="failed")


def left_here(meters: Path, replica_id: str, request_id: str, delivered_bytes: int) -> Meter | None:
    """``last_of`` if the replica was one of this node, for a gateway of another. Raises OSError."""
    if "/" in replica_id or not ran_here(meters, replica_id):
        return None
    return last_of(meters, replica_id, request_id, delivered_bytes)


def _lines(marks: Iterable[Mark]) -> bytes:
    return b"".join(msgspec.json.encode(mark) + b"\n" for mark in marks)


def _write(file: IO[bytes], data: bytes) -> None:
    if (written := file.write(data)) != len(data):
        raise OSError(errno.ENOSPC, f"{written} of {len(data)} bytes were written")


def _decode(line: bytes) -> Mark | None:
    try:
        return msgspec.json.decode(line, type=Mark)
    except msgspec.DecodeError:
        return None
