from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.engine.starting import VARIABLE, counted, line_of, said, say, telling_why, weighed, why
from tests.serving.conftest import SOURCE


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


def test_the_innermost_reason_is_told(line: Path) -> None:
    say("loading weights")
    with pytest.raises(OSError), telling_why():  # noqa: PT012, PT011
        try:
            with telling_why():
                raise RuntimeError("no\n  room")
        except RuntimeError:
            raise OSError("something failed") from None
    assert why(line) == "RuntimeError: no room"
    say("loading weights")
    assert why(line) == ""


@pytest.mark.engine
def test_an_engine_that_does_not_start_says_why(converted_models: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(converted_models)
    entry = {
        "id": "smollm2", "source": SOURCE, "context_length": 2048, "gpus": 0,
        "rates": {"input": "1", "cached_input": "1", "output": "1"}, "engine_args": {"num_gpu_blocks_override": 1},
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.serving.one_engine", str(tmp_path), json.dumps(entry)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "EngineDidNotStartError: ValueError: " in last
    assert "memory for the cache" in last
