"""What is counted when, without an engine."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from uuid import UUID, uuid4

import msgspec
import pytest

from serving.metering.journal import KEEP_SECONDS, FileJournal, read_journal
from serving.metering.meter import Limits, Meter, MeterBook, decisive

HOUR = 3600

RUNNING = Meter("a", 10, 0, 1)
COMPLETE = Meter("a", 10, 0, 2, "complete")
FAILED = Meter("a", 10, 0, 3, "failed")
CUT_OFF = Meter("a", 10, 0, 4, "cancelled")
REFUSED = Meter("a", ended="refused")


@dataclass
class Sequence:
    id: str = "s"
    prompt: str = "p"
    prompt_tokens: int = 10
    prefilled: bool = True
    cached_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    given_up: bool = False


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_prompt_counts_once_however_many_answers(tmp_path: Path) -> None:
    book = MeterBook(FileJournal(tmp_path, "r"))
    request = book.begin("a", Limits())
    assert request is not None
    request.sequences += [
        Sequence(completion_tokens=3, cached_tokens=0),
        Sequence(completion_tokens=4, cached_tokens=8),  # found what its sibling had put into the cache
        Sequence(prompt="q", prompt_tokens=7, completion_tokens=1, cached_tokens=4),
        Sequence(prompt="never read", prefilled=False),
    ]
    assert book.end(request, "cancelled") == Meter("a", 17, 4, 8, "cancelled")


def test_what_left_the_queue_unread_is_free(tmp_path: Path) -> None:
    book = MeterBook(FileJournal(tmp_path, "r"))
    request = book.begin("a", Limits())
    assert request is not None
    request.sequences.append(Sequence(prefilled=False))
    assert (book.in_flight, book.waiting) == (1, 1)
    assert book.end(request, "cancelled") == Meter("a", ended="cancelled")


def test_limits_hold_for_the_sum_of_all_prompts(tmp_path: Path) -> None:
    request = MeterBook(FileJournal(tmp_path, "r")).begin("a", Limits(prompt_tokens=10, sequences=3))
    assert request is not None
    request.ask(6, 2)
    assert request.refused is None
    request.ask(4, 1)
    assert request.refused is None
    request.ask(1, 1)
    assert request.refused == "prompt-limit"


async def test_a_meter_can_be_waited_for(tmp_path: Path) -> None:
    book = MeterBook(FileJournal(tmp_path, "r"))
    request = book.begin("a", Limits())
    assert request is not None
    assert book.begin("a", Limits()) is None
    now = await book.find("a", 0.01)
    assert now is not None
    assert now.ended is None
    waiting = asyncio.create_task(book.find("a", 10))
    await asyncio.sleep(0)
    ended = book.end(request, "complete")
    assert await waiting == ended
    assert book.begin("a", Limits()) is None
    assert await book.find("b", 0) is None


async def test_a_refused_request_may_come_again(tmp_path: Path) -> None:
    book = MeterBook(FileJournal(tmp_path, "r"))
    request = book.begin("a", Limits())
    assert request is not None
    book.end(request, "refused")
    assert book.begin("a", Limits()) is not None


async def test_the_journal_of_a_dead_replica_is_found(tmp_path: Path) -> None:
    dead = FileJournal(tmp_path, "dead")
    dead.append(Meter("a", 1, 0, 2, "complete"))
    with (tmp_path / "dead-1.jsonl").open("ab") as torn:
        torn.write(b'{"request_id":"b","prompt_tok')
    FileJournal(tmp_path, "other").append(Meter("a", ended="refused"))
    book = MeterBook(FileJournal(tmp_path, "new"))
    assert await book.find("a", 0) == Meter("a", 1, 0, 2, "complete")
    assert await book.find("b", 0) is None


def _uuid7(unix_seconds: float) -> str:
    return str(UUID(int=int(unix_seconds * 1000) << 80 | 7 << 76 | 2 << 62))


def test_only_files_since_the_request_began_are_read(tmp_path: Path) -> None:
    clock = Clock()
    request = _uuid7(clock.now)
    hour = int(clock.now // HOUR)
    line = msgspec.json.encode(Meter(request, 1, 0, 2, "complete")) + b"\n"
    (tmp_path / f"r-{hour - 1}.jsonl").write_bytes(line)
    assert read_journal(tmp_path, request) is None
    (tmp_path / f"r-{hour + 3}.jsonl").write_bytes(line)
    assert read_journal(tmp_path, request) is not None


def test_the_gateways_clock_may_be_a_little_ahead(tmp_path: Path) -> None:
    hour = 300
    request = _uuid7(hour * HOUR + 20)
    (tmp_path / f"r-{hour - 1}.jsonl").write_bytes(msgspec.json.encode(Meter(request, ended="complete")))
    assert read_journal(tmp_path, request) is not None


@pytest.mark.parametrize("request_id", ["short", str(uuid4())])
def test_an_id_without_a_time_is_looked_for_everywhere(tmp_path: Path, request_id: str) -> None:
    FileJournal(tmp_path, "r", Clock()).append(Meter(request_id, ended="complete"))
    assert read_journal(tmp_path, request_id) is not None


def test_a_failed_attempt_does_not_hide_the_one_that_was_answered(tmp_path: Path) -> None:
    FileJournal(tmp_path, "one").append(COMPLETE)
    FileJournal(tmp_path, "other").append(FAILED)
    assert read_journal(tmp_path, "a") == COMPLETE


class FullDisk:
    """Takes half a line, then nothing, then works again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._failures = 2

    def write(self, line: bytes) -> int:
        self._failures -= 1
        if self._failures == 1:
            return self._file.write(line[: len(line) // 2])
        if self._failures == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(line)

    def close(self) -> None:
        self._file.close()


async def test_a_full_disk_spoils_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = FileJournal(tmp_path, "r")
    journal._file = cast("IO[bytes]", FullDisk(journal._file_now()))
    book = MeterBook(journal)
    for name in ("torn", "lost", "kept"):
        request = book.begin(name, Limits())
        assert request is not None
        request.sequences.append(Sequence(completion_tokens=3))
        waiting = asyncio.create_task(book.find(name, 10))
        await asyncio.sleep(0)
        assert book.end(request, "complete") == await waiting == await book.find(name, 0)
    assert [record.getMessage() for record in caplog.records] == ["a meter is not in the journal: ENOSPC"] * 2
    assert read_journal(tmp_path, "lost") is None
    assert read_journal(tmp_path, "torn") is None
    assert read_journal(tmp_path, "kept") == Meter("kept", 10, 0, 3, "complete")


def test_journals_are_deleted_after_three_days(tmp_path: Path) -> None:
    clock = Clock()
    journal = FileJournal(tmp_path, "r", clock)
    journal.append(Meter("old", ended="complete"))
    (file,) = tmp_path.iterdir()
    os.utime(file, (clock.now, clock.now))
    clock.now += KEEP_SECONDS - HOUR
    journal.append(Meter("mid", ended="complete"))
    assert read_journal(tmp_path, "old") is not None
    for later in tmp_path.iterdir():
        if later != file:
            os.utime(later, (clock.now, clock.now))
    clock.now += 2 * HOUR
    journal.append(Meter("new", ended="complete"))
    assert read_journal(tmp_path, "old") is None
    assert read_journal(tmp_path, "mid") is not None


@pytest.mark.parametrize(
    ("attempts", "counts"),
    [
        ([], None),
        ([REFUSED], REFUSED),
        ([FAILED, RUNNING], RUNNING),
        ([COMPLETE, RUNNING], RUNNING),
        ([REFUSED, Meter("a", ended="cancelled")], Meter("a", ended="cancelled")),
        ([FAILED, CUT_OFF], CUT_OFF),
        ([CUT_OFF, COMPLETE], COMPLETE),
    ],
)
def test_of_several_attempts_one_counts(attempts: list[Meter], counts: Meter | None) -> None:
    assert decisive(attempts) == counts
    assert decisive(reversed(attempts)) == counts
