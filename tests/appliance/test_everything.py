"""The page that `make everything` writes keeps what a later, partial run did not repeat."""

from pathlib import Path

import pytest

from tests.everything import Row, known, page, run

LINT = Row("lint", "passed", "Contracts: 10 kept, 0 broken.", "0.5", "2026-11-26", "abc1234")
NODES = Row("test-nodes", "failed", "1 failed in 3 s", "5.0", "2026-11-25", "abc1233 with changes")


def test_what_was_written_is_read_again() -> None:
    assert list(known(page({"test-nodes": NODES, "lint": LINT}))) == [LINT, NODES]


def test_a_command_does_not_get_everythings_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text("lint:\n\t@echo got $(ARGS) >&2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=lint")
    row = run("lint", "abc1234")
    assert (row.result, "got lint" in row.last_line) == ("passed", False)
