"""The peer: vLLM's own server on the same shape, with nothing of ours around it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.ports import free_port

MODULE = "vllm.entrypoints.launchers.api_server.entry"  # what `vllm serve` runs


@dataclass
class Bare:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    seconds_to_ready: float | None = None

    def wait_until_ready(self, seconds: float) -> float:
        """How long its start took. Raises AssertionError with its log."""
        while self.seconds_to_ready is None:
            try:
                with urlopen(self.url + "/health", timeout=3):
                    self.seconds_to_ready = round(time.monotonic() - self.began, 1)
            except (URLError, OSError):
                assert self.process.poll() is None, f"it ended:\n{self._tail()}"
                assert time.monotonic() - self.began < seconds, f"not ready:\n{self._tail()}"
                time.sleep(0.5)
        return self.seconds_to_ready

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@contextmanager
def bare_vllm(shape: Path, home: Path, options: list[str]) -> Iterator[Bare]:
    """Started, not yet ready; ended with the block. What was compiled in the home is not compiled again."""
    port = free_port()
    command = [
        sys.executable, "-m", MODULE, "--model", str(shape), "--served-model-name", "eight",
        "--load-format", "dummy", "--host", "127.0.0.1", "--port", str(port), *options,
    ]  # fmt: skip
    env = os.environ | {
        "VLLM_CACHE_ROOT": str(home / "cache/vllm"), "TRITON_CACHE_DIR": str(home / "cache/triton"),
        "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # of a rehearsal
    }  # fmt: skip
    folder = home / "logs"
    log = folder / "bare.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Bare(f"http://127.0.0.1:{port}", process, log, time.monotonic())
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
