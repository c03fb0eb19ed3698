"""What a killed replica's answers took for certain: never more than was generated, nor than came of them."""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.metering import marks as module
from serving.metering.journal import KEEP_SECONDS, FileJournal, delete_old, read_journal
from serving.metering.marks import (
    MOST_MARKS,
    REPLACED_AFTER,
    SPREAD,
    Mark,
    MarkFile,
    certain,
    keep_marks,
    last_of,
    path_of,
    ran_here,
    read_marks,
    thinned,
)
from serving.metering.meter import Limits, Meter, MeterBook, Recording, Request, decisive
from tests.serving.test_meter import Sequence


def streamed(name: str = "a", limits: Limits | None = None) -> Request:
    """A request with one prompt, which the engine has read."""
    request = Request(name, limits or Limits(model="m"))
    request.ask(10, 1)
    request.sequences.append(Sequence(cached_tokens=4))
    return request


def write(request: Request, tokens: int, answer_bytes: int) -> None:
    """The app is given tokens, and sends so many bytes."""
    request.give(tokens)
    request.sent_bytes += answer_bytes
    request.asked_for_more()


def meter(tokens: int, name: str = "a", **more: Any) -> Meter:
    return Meter(name, 10, 4, tokens, model="m", **more)


def test_tokens_count_once_what_was_made_of_them_is_sent() -> None:
    request = streamed()
    assert request.delivered() is None
    request.sent_bytes += 100  # an event before the first token
    assert request.delivered() is None
    request.give(1)
    assert request.delivered() is None
    request.sent_bytes += 20
    assert request.delivered() is None
    request.asked_for_more()
    assert request.delivered() == (120, meter(1))


def test_tokens_of_which_nothing_is_made_yet_count_with_what_follows() -> None:
    request = streamed()
    write(request, 1, 20)
    write(request, 5, 0)  # as a parser keeps the beginning of a tool call
    request.sent_bytes += 14  # a comment that keeps the connection alive
    assert request.delivered() == (20, meter(1))
    write(request, 2, 30)
    assert request.delivered() == (64, meter(8))


def test_what_may_begin_a_stop_string_does_not_count() -> None:
    request = streamed()
    request.withheld_tokens = 3
    write(request, 3, 20)
    assert request.delivered() is None
    write(request, 2, 20)
    assert request.delivered() == (40, meter(2))


def test_several_prompts_and_recordings_are_never_certain() -> None:
    request = streamed()
    request.ask(10, 1)
    write(request, 1, 20)
    assert request.delivered() is None
    heard = streamed()
    heard.recording = Recording(30.0, 1)
    write(heard, 1, 20)
    assert heard.delivered() is None


@pytest.mark.parametrize(("passed", "tokens"), [(0, None), (99, None), (100, 1), (199, 1), (200, 2), (9999, 2)])
def test_the_newest_mark_that_the_client_has_reached_counts(passed: int, tokens: int | None) -> None:
    marks = [Mark(200, meter(2)), Mark(100, meter(1))]
    assert certain(marks, passed) == (None if tokens is None else meter(tokens))


ANSWERS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 300), st.booleans()), max_size=60)
"""What the app is given, how many bytes it makes of that, and whether an interval ends then."""


@given(ANSWERS, st.floats(0, 1), st.integers(0, 300))
def test_never_more_than_was_generated_nor_than_came(
    answer: list[tuple[int, int, bool]], passed: float, torn: int
) -> None:
    """Wherever the replica is killed, whatever of its last line is there, however much of its bytes went on."""
    sent = list(accumulate(size for _, size, _ in answer))
    delivered_bytes = int(passed * sent[-1]) if sent else 0
    with TemporaryDirectory() as home:
        file = MarkFile(Path(home), "r")
        request = streamed()
        marked = 0
        for (tokens, size, interval_ends), so_far in zip(answer, sent, strict=True):
            write(request, tokens, size)
            if interval_ends:
                file.write([request])
                told = request.delivered()
                marked = told[1].completion_tokens if told and so_far <= delivered_bytes else marked
        path = path_of(Path(home), "r")
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:torn].rstrip(b"\n")[: max(0, torn - 1)])
        found = certain(read_marks(path, "a"), delivered_bytes)
    came = generated = 0
    for (tokens, size, _), so_far in zip(answer, sent, strict=True):
        generated += tokens
        came = generated if size and so_far <= delivered_bytes else came
    charged = 0 if found is None else found.completion_tokens
    assert charged <= came <= generated
    assert charged >= min(marked, came)
    assert found is None or (found.prompt_tokens, found.cached_tokens) == (10, 4)


def test_an_answer_that_stands_still_has_no_new_marks(tmp_path: Path) -> None:
    file, request = MarkFile(tmp_path, "r"), streamed()
    write(request, 1, 20)
    file.write([request])
    length = path_of(tmp_path, "r").stat().st_size
    file.write([request])
    assert path_of(tmp_path, "r").stat().st_size == length


def test_all_answers_are_marked_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    monkeypatch.setattr(module, "_write", lambda _, data: writes.append(data))
    requests = [streamed(f"request-{number}") for number in range(100)]
    for request in requests:
        write(request, 1, 20)
    MarkFile(tmp_path, "r").write(requests)
    assert len(writes) == 1
    assert writes[0].count(b"\n") == 100


def test_the_file_does_not_grow_for_days(tmp_path: Path) -> None:
    file, path = MarkFile(tmp_path, "r"), path_of(tmp_path, "r")
    long = streamed("long")
    longest = 0
    for number in range(20 * REPLACED_AFTER):
        write(long, 1, 20)
        short = streamed(f"short-{number}")
        write(short, 1, 20)
        file.write([long, short])
        longest = max(longest, path.stat().st_size)
    assert longest < 200 * (2 * REPLACED_AFTER + MOST_MARKS)
    file.write([])
    assert [mark.meter.completion_tokens for mark in read_marks(path, "long")][-1] == 20 * REPLACED_AFTER
    for _ in range(REPLACED_AFTER):
        file.write([])
    assert path.read_bytes() == b""


def test_older_marks_are_further_apart() -> None:
    """A client that lags behind is charged a little less, however long the answer is."""
    marks: list[Mark] = []
    for number in range(1, 20_001):
        marks = thinned([*marks, Mark(number, meter(number))])
        assert len(marks) <= MOST_MARKS
    for behind in (1, 2, 10, 100, 1_000, 10_000, 19_000):
        so_far = certain(marks, 20_000 - behind)
        assert so_far is not None
        charged_behind = 20_000 - so_far.completion_tokens
        assert behind <= charged_behind <= behind / (1 - SPREAD) + 1


class FullDisk:
    """Takes half of what is written, once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._full = True

    def write(self, data: bytes) -> int:
        full, self._full = self._full, False
        return self._file.write(data[: len(data) // 2] if full else data)


def test_a_full_disk_costs_the_marks_of_its_interval(tmp_path: Path) -> None:
    file, request = MarkFile(tmp_path, "r"), streamed()
    file._file = cast("IO[bytes]", FullDisk(file._file))
    write(request, 1, 20)
    with pytest.raises(OSError, match="were written") as caught:
        file.write([request])
    assert caught.value.errno == errno.ENOSPC
    write(request, 1, 20)
    file.write([request])
    assert read_marks(path_of(tmp_path, "r"), "a") == [Mark(40, meter(2))]


async def test_marks_that_cannot_be_written_spoil_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.001)
    book, file = MeterBook(FileJournal(tmp_path, "r")), MarkFile(tmp_path, "r")
    request = book.begin("a", Limits(model="m"))
    assert request is not None
    request.ask(10, 1)
    request.sequences.append(Sequence(cached_tokens=4))
    file._file = cast("IO[bytes]", FullDisk(file._file))
    keeping = asyncio.create_task(keep_marks(book, file))
    while not read_marks(path_of(tmp_path, "r"), "a"):
        write(request, 1, 20)
        await asyncio.sleep(0.001)
    keeping.cancel()
    assert [record.getMessage() for record in caplog.records] == ["marks are not written: ENOSPC"]


def test_a_replica_that_ends_in_order_leaves_no_marks(tmp_path: Path) -> None:
    file = MarkFile(tmp_path / "m", "r")
    assert ran_here(tmp_path, "r")
    file.close()
    assert not ran_here(tmp_path, "r")


def test_marks_of_the_dead_are_deleted_with_the_journals(tmp_path: Path) -> None:
    MarkFile(tmp_path, "r")
    os.utime(path_of(tmp_path, "r"), (1_000_000, 1_000_000))
    delete_old(tmp_path, 1_000_000 + KEEP_SECONDS)
    assert path_of(tmp_path, "r").exists()
    delete_old(tmp_path, 1_000_001 + KEEP_SECONDS)
    assert not path_of(tmp_path, "r").exists()


def dead(meters: Path, replica: str, *marked: tuple[int, int]) -> None:
    """A replica that was killed over an answer; bytes and tokens of its marks."""
    file, request = MarkFile(meters / "m", replica), streamed()
    tokens = sent = 0
    for answer_bytes, completion_tokens in marked:
        write(request, completion_tokens - tokens, answer_bytes - sent)
        sent, tokens = answer_bytes, completion_tokens
        file.write([request])


def test_what_a_dead_replicas_client_had_is_noted_in_a_journal(tmp_path: Path) -> None:
    dead(tmp_path, "r", (100, 3), (200, 7))
    assert last_of(tmp_path, "r", "a", 150) == meter(3, ended="died")
    assert read_journal(tmp_path / "m", "a") == meter(3, ended="died")


def test_what_is_noted_stands_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    dead(tmp_path, "r", (100, 3))
    journal = FileJournal(tmp_path / "m", "r")
    journal._file_now().write(b'{"request_id":"b","prompt_tok')
    assert last_of(tmp_path, "r", "a", 100) == meter(3, ended="died")
    assert last_of(tmp_path, "r", "a", 0) == meter(3, ended="died"), "it was noted before"
    assert read_journal(tmp_path / "m", "a") == meter(3, ended="died")


def test_what_the_replica_itself_put_down_as_the_end_counts_before_its_marks(tmp_path: Path) -> None:
    dead(tmp_path, "r", (100, 3))
    FileJournal(tmp_path / "m", "r").append(meter(9, ended="failed"))
    assert last_of(tmp_path, "r", "a", 100) == meter(9, ended="failed")


def test_an_attempt_of_which_the_client_saw_nothing_costs_nothing(tmp_path: Path) -> None:
    """Neither the marks nor the journal of a replica that was tried before count, though its answer was longer."""
    dead(tmp_path, "first", (50, 40))
    FileJournal(tmp_path / "m", "second").append(meter(500, ended="failed"))
    dead(tmp_path, "third", (100, 3))
    assert last_of(tmp_path, "third", "a", 100) == meter(3, ended="died")
    assert read_journal(tmp_path / "m", "a") == meter(3, ended="died")
    assert last_of(tmp_path, "fourth", "a", 100) == Meter("a", ended="failed")


def test_nothing_is_charged_before_the_first_mark(tmp_path: Path) -> None:
    dead(tmp_path, "r", (100, 3))
    assert last_of(tmp_path, "r", "a", 99) == Meter("a", ended="failed")
    assert last_of(tmp_path, "r", "b", 1000) == Meter("b", ended="failed")
    assert read_journal(tmp_path / "m", "a") is None


def test_a_mark_is_no_meter() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(Mark(100, meter(3))), type=Meter)


@pytest.mark.parametrize("ended", ["failed", "refused", "cancelled"])
def test_what_the_client_had_counts_before_attempts_that_broke_off(ended: Any) -> None:
    assert decisive([meter(500, ended=ended), meter(3, ended="died")]) == meter(3, ended="died")
