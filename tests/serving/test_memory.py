from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.engine import memory

HOLDS = """
import fcntl, sys, time
file = open(sys.argv[1], "ab"); fcntl.flock(file, fcntl.LOCK_EX); print("has it", flush=True); time.sleep(60)
"""


def worker(rank: int = 0, known: int | None = None) -> Any:
    return SimpleNamespace(rank=rank, cache_config=SimpleNamespace(kv_cache_memory_bytes=known))


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine's settings and its GPU come to; its element may be changed."""
    fingerprint = ["H100"]
    for name, value in memory.variables(tmp_path, "v1", 0.5).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(memory, "_fingerprint", lambda _: fingerprint[0])
    return fingerprint


def recalled(of: Any) -> int | None:
    memory.recall(of)
    size: int | None = of.cache_config.kv_cache_memory_bytes
    return size


def test_a_second_start_measures_nothing(gpu: list[str]) -> None:
    assert recalled(worker()) is None
    memory.remember(worker(), 7 << 30)
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
    (tmp_path / "cache/memory/v1/0.json").write_text('{"finger')
    assert recalled(worker()) is None


def test_one_measures_alone_and_those_that_remember_start_side_by_side(gpu: list[str]) -> None:
    waited: list[str] = []
    with memory.gpu_of(worker(), lambda: None):
        second = threading.Thread(target=_start, args=(worker(), waited))
        second.start()
        second.join(0.2)
        assert waited == ["waits"]
    second.join()
    assert waited == ["waits", "starts"]
    memory.remember(worker(), 7 << 30)
    waited.clear()
    with memory.gpu_of(worker(), lambda: None):
        _start(worker(), waited)
    assert waited == ["starts"]


def _start(of: Any, waited: list[str]) -> None:
    with memory.gpu_of(of, lambda: waited.append("waits")):
        waited.append("starts")


def test_a_start_that_was_killed_holds_up_nobody(gpu: list[str], tmp_path: Path) -> None:
    lock = tmp_path / "run/gpus/3.lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        with memory.gpu_of(worker(), other.kill):
            assert other.wait() != 0


def test_a_whole_gpu_needs_no_lock(tmp_path: Path) -> None:
    assert memory.variables(tmp_path, "v1", 1)[memory.LOCKS_VARIABLE] == ""
    assert memory.variables(tmp_path, "v1", 0)[memory.LOCKS_VARIABLE] == ""
