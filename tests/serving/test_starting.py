from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.engine.starting import VARIABLE, counted, line_of, said, say, weighed


@dataclass
class Tensor:
    nbytes: int


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = line_of(tmp_path, "org.model-1")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_nothing_is_said_before_the_start(line: Path) -> None:
    assert said(line) == ""


def test_weights_are_told_in_percent_of_their_bytes(line: Path) -> None:
    tensors = [("a", Tensor(100)), ("b", Tensor(600)), ("c", Tensor(300))]
    seen = [(name, said(line)) for name, _ in weighed(tensors, 1000)]
    assert seen == [("a", ""), ("b", "loading weights, 10 %"), ("c", "loading weights, 70 %")]
    assert said(line) == "loading weights, 100 %"


def test_graphs_are_told_by_their_number(line: Path) -> None:
    assert [(item, said(line)) for item in counted("xy", "capturing graphs,")] == [
        ("x", "capturing graphs, 1 of 2"), ("y", "capturing graphs, 2 of 2"),
    ]  # fmt: skip


def test_a_start_goes_on_though_nobody_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    say("nothing listens")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "line.txt"))
    say("there can be no such file")
