"""The page that `make everything` writes keeps what a later, partial run did not repeat."""

from pathlib import Path

import pytest

from tests.everything import STEPS, Endured, Row, chosen, known, known_record, page, run
from tests.record import VARIABLE, Ordeal, record, recorded

LINT = Row("lint", "passed", "Contracts: 10 kept, 0 broken.", "0.5", "2026-11-26", "abc1234")
NODES = Row("test-nodes", "failed", "1 failed in 3 s", "5.0", "2026-11-25", "abc1233 with changes")

SOAK = Endured(1_471_537, Ordeal.OPERATIONS, "soak", "2026-11-26", "abc1234")
KILLS = Endured(31, Ordeal.KILLS, "test", "2026-11-26", "abc1234")


def test_what_was_written_is_read_again() -> None:
    text = page({"test-nodes": NODES, "lint": LINT}, [KILLS, SOAK])
    assert list(known(text)) == [LINT, NODES]
    assert list(known_record(text)) == [SOAK, KILLS]
    assert list(known_record(page({"lint": LINT}, []))) == []


def test_a_command_does_not_get_everythings_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=lint SYSTEM=other")
    (tmp_path / "Makefile").write_text("lint:\n\t@echo got $(ARGS)$(SYSTEM).\n")
    for step, said in (("lint", "got ."), ("lint ARGS=billing", "got billing."), ("lint SYSTEM=a", "got a.")):
        row = run(step, "abc1234", tmp_path / "record")
        assert (row.result, row.last_line) == ("passed", said)


def test_a_command_is_chosen_whole_or_by_a_part() -> None:
    assert chosen(["soak", "lint"]) == ["lint", "soak"]
    assert chosen(["tests/hosts/story"]) == ["test-hosts ARGS=tests/hosts/story"]
    assert len(chosen(["test-hosts"])) == sum(step.startswith("test-hosts") for step in STEPS) > 1
    assert len(chosen(["SYSTEM=ubuntu-24.04"])) == len(chosen(["test-hosts"])) // 2
    assert chosen([]) == list(STEPS)
    with pytest.raises(SystemExit, match="there is no step soap: lint, test"):
        chosen(["soap", "lint"])


def test_every_test_on_hosts_is_in_a_step() -> None:
    modules = {str(one) for one in Path("tests/hosts").glob("test_*.py")}
    assert {step.partition("ARGS=")[2] for step in chosen(["test-hosts"])} == {"tests/hosts/story", *modules}


def test_what_a_step_counts_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(Ordeal.KILLS)  # nobody keeps a record: nothing happens
    file = tmp_path / "record"
    assert not recorded(file)
    monkeypatch.setenv(VARIABLE, str(file))
    record(Ordeal.KILLS)
    record(Ordeal.KILLS, 2)
    record(Ordeal.FUZZED, 5000)
    assert recorded(file) == {Ordeal.KILLS: 3, Ordeal.FUZZED: 5000}
