from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.engine import memory


def worker(rank: int = 0, known: int | None = None) -> Any:
    return SimpleNamespace(rank=rank, cache_config=SimpleNamespace(kv_cache_memory_bytes=known))


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine's settings and its GPU come to; its first element may be changed."""
    fingerprint = ["H100"]
    monkeypatch.setenv(memory.VARIABLE, str(memory.notes_of(tmp_path, "v1")))
    monkeypatch.setattr(memory, "_fingerprint", lambda _: fingerprint[0])
    return fingerprint


def recalled(of: Any) -> int | None:
    memory.recall(of)
    size: int | None = of.cache_config.kv_cache_memory_bytes
    return size


def test_a_second_start_measures_nothing(gpu: list[str], tmp_path: Path) -> None:
    assert recalled(worker()) is None
    assert not memory.is_noted(tmp_path, "v1")
    memory.remember(worker(), 7 << 30)
    assert memory.is_noted(tmp_path, "v1")
    assert recalled(worker()) == 7 << 30
    assert recalled(worker(rank=1)) is None


def test_another_gpu_or_other_settings_are_measured_again(gpu: list[str]) -> None:
    memory.remember(worker(), 7 << 30)
    gpu[0] = "H200"
    assert recalled(worker()) is None


def test_what_the_operator_says_is_taken(gpu: list[str]) -> None:
    memory.remember(worker(), 7 << 30)
    assert recalled(worker(known=5)) == 5


def test_a_torn_note_is_measured_again(gpu: list[str], tmp_path: Path) -> None:
    memory.remember(worker(), 7 << 30)
    (memory.notes_of(tmp_path, "v1") / "0.json").write_text('{"finger')
    assert recalled(worker()) is None


def test_replicas_that_start_beside_each_other_remember_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.VARIABLE, "")
    memory.remember(worker(), 7 << 30)
    assert recalled(worker()) is None
