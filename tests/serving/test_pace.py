"""How fast a model writes, and how much memory its replicas take."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serving.control.pace import Pace
from serving.metering.journal import FileJournal
from serving.metering.meter import Limits, MeterBook
from serving.replica.footprint import Footprint, on_processors, parse
from tests.serving.test_meter import Sequence


def test_the_pace_is_what_was_written_over_the_last_seconds() -> None:
    pace = Pace(over_seconds=10)
    assert pace.per_second == 0
    for second in range(21):
        pace.see({"a": 1000 + 10 * second, "b": 5 * max(0, second - 10)}, float(second))
    assert pace.per_second == 15
    for second in range(21, 40):
        pace.see({"a": 1200, "b": 50}, float(second))
    assert pace.per_second == 0


def test_a_replica_that_comes_or_goes_is_no_burst_and_no_fall() -> None:
    pace = Pace(over_seconds=10)
    for second, written in enumerate(({"a": 0}, {"a": 10, "b": 5000}, {"b": 5010}, {"a": 3, "b": 5020})):
        pace.see(written, float(second))
    assert pace.per_second == 10


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9)), max_size=30))
def test_the_pace_is_never_below_nothing(looks: list[dict[str, int]]) -> None:
    pace = Pace(over_seconds=3)
    for second, written in enumerate(looks):
        pace.see(written, float(second))
        assert pace.per_second >= 0


def test_a_replica_counts_the_tokens_of_running_and_of_ended_answers(tmp_path: Path) -> None:
    book = MeterBook(FileJournal(tmp_path, "r"))
    first, second = book.begin("a", Limits()), book.begin("b", Limits())
    assert first is not None
    assert second is not None
    first.sequences.append(Sequence(completion_tokens=3))
    second.sequences.append(Sequence(completion_tokens=4))
    book.end(first, "complete")
    assert book.written == 7


def test_memory_is_that_of_all_gpus_of_a_replica() -> None:
    assert parse("70123, 81559\n1000, 81559\n") == Footprint(71123 << 20, 2 * 81559 << 20)
    assert parse("No devices were found\n") == Footprint()
    assert parse("[N/A], [N/A]\n") == Footprint()


def test_without_a_gpu_it_is_that_of_the_processes() -> None:
    found = on_processors()
    assert found.total == 0
    assert 1 << 20 < found.used < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
